"""Some coefficients of an orthonormal transform: compressed sensing and MRI."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from numpy.typing import ArrayLike

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    Spectrum,
    check_damping,
    check_image_shape,
)
from pigdm_jax.operators.inpainting import Mask, Seed, as_key, check_mask
from pigdm_jax.operators.named import Named, Parameter


class NoPicture(Operator):
    """An operator whose measurement is no picture."""

    def from_picture(self, picture: Image) -> Any:
        """Refused: no picture file holds such a measurement."""
        raise ValueError(
            f"no picture file holds what {type(self).__name__} measures; measure a "
            "clean picture instead (--simulate)"
        )

    def to_picture(self, y: Any) -> Image:
        """What the pseudoinverse makes of it."""
        return self.pinv(y)


@pytree_class
class WalshHadamard(NoPicture):
    """Rows of a signed Walsh-Hadamard matrix; made by `walsh_hadamard`."""

    signs: Any  # n, 1 or -1
    rows: Any  # m of 0 .. n - 1
    image_shape: ImageShape = static_field()

    linear = True
    tight = 1.0

    def apply(self, x: Image) -> Float[Array, "m C"]:
        """The chosen coefficients of every channel."""
        flat = jnp.reshape(x, (-1, self.image_shape[2]))
        return hadamard(flat * self.signs[:, None])[self.rows]

    def pinv(self, y: Float[Array, "m C"], damping: Damping = 0.0) -> Image:
        """The transpose over (1 + damping)."""
        height, width, channels = self.image_shape
        spread = jnp.zeros((height * width, channels)).at[self.rows].set(y)
        flat = hadamard(spread) * self.signs[:, None]
        return flat.reshape(self.image_shape) / (1 + check_damping(damping))


@pytree_class
class Fourier(NoPicture):
    """Some frequencies of a real image; made by `fourier`."""

    mask: Any  # H x W x 1
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Float[Array, "H W C 2"]:
        """Real and imaginary parts of the orthonormal 2-D FFT, 0 where not measured."""
        spectrum = self.mask * jnp.fft.fft2(x, axes=(0, 1), norm="ortho")
        return jnp.stack([spectrum.real, spectrum.imag], axis=-1)

    def pinv(self, y: Float[Array, "H W C 2"], damping: Damping = 0.0) -> Image:
        """The real part of the inverse FFT, where k and -k share what either shows."""
        seen = self._seen
        damping = check_damping(damping)
        gain = self.mask / jnp.where(seen > 0, seen + damping, 1)
        return self._synthesise(gain * jax.lax.complex(y[..., 0], y[..., 1]))

    @property
    def spectrum(self) -> Spectrum:
        """Frequencies."""
        return Spectrum(
            jnp.sqrt(self._seen),
            lambda x: jnp.fft.fft2(x, axes=(0, 1), norm="ortho"),
            self._synthesise,
        )

    @property
    def _seen(self) -> Float[Array, "H W 1"]:
        """Eigenvalues of H^T H: a frequency counts half if its opposite is hidden."""
        opposite = jnp.roll(jnp.flip(self.mask, (0, 1)), 1, (0, 1))
        return (self.mask + opposite) / 2

    def _synthesise(self, k: Complex[Array, "H W C"]) -> Image:
        return jnp.fft.ifft2(k, axes=(0, 1), norm="ortho").real


def walsh_hadamard(
    image_shape: ImageShape, ratio: float = 0.25, key: Seed = 0
) -> WalshHadamard:
    """Compressed sensing: a share of the rows of a randomly signed Hadamard matrix.

    Args:
      image_shape: (height, width, channels) of the image, height x width a power of 2.
      ratio: measurements per pixel, above 0 and at most 1.
      key: a `jax.random` key or a seed.

    Returns:
      An operator to (round(ratio height width), channels); the same rows for every
      channel.

    Raises:
      ValueError: if the size is no power of 2 or the ratio out of range.

    Reference: Song et al. 2023, appendix A; Kawar et al. 2022 (DDRM), appendix D.
    """
    height, width, _ = image_shape = check_image_shape(image_shape)
    n = height * width
    if n & (n - 1):
        raise ValueError(
            f"walsh_hadamard needs a height and width that are powers of 2; the image "
            f"is {height} x {width}"
        )
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is above 0 and at most 1, got {ratio}")
    signs_key, rows_key = jax.random.split(as_key(key))
    signs = jax.random.rademacher(signs_key, (n,), jnp.float32)
    rows = jax.random.permutation(rows_key, n)[: max(round(ratio * n), 1)]
    return WalshHadamard(signs, rows, image_shape)


def hadamard(x: Float[Array, "n C"]) -> Float[Array, "n C"]:
    """The fast Walsh-Hadamard transform along the first axis, orthonormal."""
    n, channels = x.shape
    half = 1
    while half < n:
        pairs = x.reshape(-1, 2, half, channels)
        x = jnp.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    return x.reshape(n, channels) / np.sqrt(np.float32(n))


def fourier(image_shape: ImageShape, mask: ArrayLike) -> Fourier:
    """Some frequencies of the 2-D Fourier transform (MRI with one coil).

    Args:
      image_shape: (height, width, channels) of the image.
      mask: zeros and ones, (height, width) or (height, width, 1), in the order of
        `jnp.fft.fft2`: frequency 0 first. See `cartesian_mask`.

    Raises:
      ValueError: if the mask is of another size or holds other values.
    """
    image_shape = check_image_shape(image_shape)
    return Fourier(check_mask((*image_shape[:2], 1), mask), image_shape)


def cartesian_mask(
    image_shape: ImageShape,
    acceleration: float = 4.0,
    center: float = 0.08,
    key: Seed = 0,
) -> Mask:
    """Whole columns of frequencies, as an MRI scanner takes them.

    Args:
      image_shape: (height, width, channels) of the image.
      acceleration: one column in so many is measured, at least 1.
      center: share of columns around frequency 0 that are always measured.
      key: a `jax.random` key or a seed, for the other columns.

    Returns:
      A mask (height, width, 1) with frequency 0 first.

    Raises:
      ValueError: if the acceleration is below 1 or the centre no share.
    """
    height, width, _ = check_image_shape(image_shape)
    if not 1 <= acceleration <= width or not 0 <= center <= 1:
        raise ValueError(
            f"acceleration is from 1 to the width and center from 0 to 1, got "
            f"{acceleration} and {center}"
        )
    distance = np.minimum(np.arange(width), width - np.arange(width))
    lowest = np.argsort(distance, kind="stable")[: max(round(center * width), 1)]
    # Those in the centre come first, whatever is drawn.
    drawn = jax.random.uniform(as_key(key), (width,)).at[lowest].set(-1)
    number = max(round(width / acceleration), len(lowest))
    columns = jnp.zeros(width).at[jnp.argsort(drawn)[:number]].set(1)
    return jnp.broadcast_to(columns[:, None], (height, width, 1))


def _fourier_by_columns(
    image_shape: ImageShape,
    acceleration: float = 4.0,
    center: float = 0.08,
    seed: int = 0,
) -> Fourier:
    mask = cartesian_mask(image_shape, acceleration, center, seed)
    return fourier(image_shape, mask)


def _walsh_hadamard_by_seed(
    image_shape: ImageShape, ratio: float = 0.25, seed: int = 0
) -> Operator:
    return walsh_hadamard(image_shape, ratio, seed)


SEED = Parameter("seed", int, 0, low=0, high=2**32 - 1)
FOURIER = Named(
    "fourier",
    _fourier_by_columns,
    "Some columns of the 2-D Fourier transform (MRI); needs --simulate.",
    (
        Parameter("acceleration", float, 4.0, low=1, high=100),
        Parameter("center", float, 0.08, low=0, high=1),
        SEED,
    ),
)
WALSH_HADAMARD = Named(
    "walsh_hadamard",
    _walsh_hadamard_by_seed,
    "A part of the Walsh-Hadamard rows (compressed sensing); needs --simulate.",
    (Parameter("ratio", float, 0.25, low=1e-3, high=1), SEED),
)
