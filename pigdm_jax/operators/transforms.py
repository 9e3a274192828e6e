"""A subset of the coefficients of a transform: compressed sensing and MRI."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from numpy.typing import ArrayLike

from pigdm_jax.core.checks import check_one_number
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
from pigdm_jax.operators.masks import Mask, Seed, as_key, check_mask
from pigdm_jax.operators.named import Named, Parameter


class Transform(Operator):
    """An operator whose measurement is coefficients, not a picture."""

    def from_picture(self, picture: Image) -> Any:
        """Raises ValueError: a picture file cannot contain such a measurement."""
        raise ValueError(
            f"a picture file cannot contain what {type(self).__name__} measures; "
            "simulate the measurement of a clean picture instead (--simulate)"
        )

    def to_picture(self, y: Any) -> Image:
        """The pseudoinverse of the measurement."""
        return self.pinv(y)


@pytree_class
class WalshHadamard(Transform):
    """Rows of a Walsh-Hadamard matrix with random signs; see `walsh_hadamard`."""

    signs: Any  # n values of 1 or -1, one for each pixel
    rows: Any  # m row numbers below n
    image_shape: ImageShape = static_field()

    linear = True
    tight = 1.0

    def apply(self, x: Image) -> Float[Array, "m C"]:
        """The coefficients of the chosen rows, for every channel."""
        flat = jnp.reshape(x, (-1, self.image_shape[2]))
        return hadamard(flat * self.signs[:, None])[self.rows]

    def pinv(self, y: Float[Array, "m C"], damping: Damping = 0.0) -> Image:
        """H^T y / (1 + damping)."""
        height, width, channels = self.image_shape
        coefficients = (
            jnp.zeros((height * width, channels), jnp.float32).at[self.rows].set(y)
        )
        flat = hadamard(coefficients) * self.signs[:, None]
        return flat.reshape(self.image_shape) / (1 + check_damping(damping))


@pytree_class
class Fourier(Transform):
    """The frequencies of a real image where a mask is 1; see `fourier`."""

    mask: Any  # H x W x 1
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Float[Array, "H W C 2"]:
        """Real and imaginary parts of the orthonormal 2-D FFT, 0 where not measured."""
        spectrum = jnp.fft.fft2(x, axes=(0, 1), norm="ortho")
        spectrum = jnp.asarray(self.mask, spectrum.dtype) * spectrum
        return jnp.stack([spectrum.real, spectrum.imag], axis=-1)

    def pinv(self, y: Float[Array, "H W C 2"], damping: Damping = 0.0) -> Image:
        """The real part of the inverse FFT, with pairs k, -k weighted by `spectrum`."""
        eigenvalues = self._eigenvalues
        damping = check_damping(damping)
        gain = self.mask / jnp.where(eigenvalues > 0, eigenvalues + damping, 1)
        real, imaginary = gain * y[..., 0], gain * y[..., 1]
        return self._synthesise(jax.lax.complex(real, imaginary))

    @property
    def spectrum(self) -> Spectrum:
        """Frequencies, with the square roots of the eigenvalues of H^T H."""
        return Spectrum(
            jnp.sqrt(self._eigenvalues),
            lambda x: jnp.fft.fft2(x, axes=(0, 1), norm="ortho"),
            self._synthesise,
        )

    @property
    def _eigenvalues(self) -> Float[Array, "H W 1"]:
        """Of H^T H: 1 where k and -k are measured, 1/2 where one is, else 0."""
        opposite = jnp.roll(jnp.flip(self.mask, (0, 1)), 1, (0, 1))
        return (self.mask + opposite) / 2

    def _synthesise(self, k: Complex[Array, "H W C"]) -> Image:
        return jnp.fft.ifft2(k, axes=(0, 1), norm="ortho").real


def walsh_hadamard(
    image_shape: ImageShape, ratio: float = 0.25, key: Seed = 0
) -> WalshHadamard:
    """Compressed sensing: random rows of a Walsh-Hadamard matrix with random signs.

    Args:
      image_shape: (height, width, channels) of the image, height x width a power of 2.
      ratio: measurements per pixel, above 0 and at most 1.
      key: a `jax.random` key or a seed.

    Returns:
      A linear operator to (round(ratio height width), channels), H H^T = I, with the
      same rows for every channel.

    Raises:
      ValueError: if height x width is not a power of 2 or the ratio is out of range.

    Reference: Song et al. 2023, appendix A; Kawar et al. 2022 (DDRM), appendix D.

    Examples:
      >>> from pigdm_jax import operators
      >>> operator = operators.walsh_hadamard((8, 8, 3), ratio=0.25)
      >>> operator.measurement_shape, operator.tight
      ((16, 3), 1.0)
    """
    height, width, _ = image_shape = check_image_shape(image_shape)
    n = height * width
    if n & (n - 1):
        raise ValueError(
            f"walsh_hadamard needs a height and width that are powers of 2; the image "
            f"is {height} x {width}"
        )
    check_one_number("ratio", ratio, 0, 1, above=True)
    signs_key, rows_key = jax.random.split(as_key(key))
    signs = jax.random.rademacher(signs_key, (n,), jnp.float32)
    rows = jax.random.permutation(rows_key, n)[: max(round(ratio * n), 1)]
    return WalshHadamard(signs, rows, image_shape)


def hadamard(x: Float[Array, "n C"]) -> Float[Array, "n C"]:
    """The orthonormal fast Walsh-Hadamard transform along the first axis.

    Args:
      x: n is a power of 2.
    """
    n, channels = x.shape
    half = 1
    while half < n:
        pairs = x.reshape(-1, 2, half, channels)
        x = jnp.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    return x.reshape(n, channels) / np.sqrt(np.float32(n))


def fourier(image_shape: ImageShape, mask: ArrayLike) -> Fourier:
    """The frequencies where a mask is 1, of the 2-D Fourier transform (one-coil MRI).

    Args:
      image_shape: (height, width, channels) of the image.
      mask: zeros and ones, (height, width) or (height, width, 1), in the order of
        `jnp.fft.fft2`: frequency 0 first. See `cartesian_mask`.

    Returns:
      A linear operator to (height, width, channels, 2): real and imaginary parts, 0
      where not measured.

    Raises:
      ValueError: if the mask has another shape or other values.

    Examples:
      >>> from pigdm_jax import operators
      >>> mask = operators.cartesian_mask((8, 8, 1), acceleration=2)
      >>> operators.fourier((8, 8, 1), mask).measurement_shape
      (8, 8, 1, 2)
    """
    image_shape = check_image_shape(image_shape)
    return Fourier(check_mask((*image_shape[:2], 1), mask), image_shape)


def cartesian_mask(
    image_shape: ImageShape,
    acceleration: float = 4.0,
    center: float = 0.08,
    key: Seed = 0,
) -> Mask:
    """A mask of whole columns of frequencies, as an MRI scanner measures them.

    Args:
      image_shape: (height, width, channels) of the image.
      acceleration: width / number of measured columns, from 1 to the width.
      center: fraction of columns around frequency 0 that are always measured, from 0
        to 1; at least one column is.
      key: a `jax.random` key or a seed, for the other columns.

    Returns:
      A mask (height, width, 1) with frequency 0 first.

    Raises:
      ValueError: if the acceleration or the centre is out of range.

    Examples:
      >>> from pigdm_jax import operators
      >>> mask = operators.cartesian_mask((8, 8, 3), acceleration=2)
      >>> mask.shape, float(mask.mean())
      ((8, 8, 1), 0.5)
    """
    height, width, _ = check_image_shape(image_shape)
    check_one_number("acceleration, at most the width,", acceleration, 1, width)
    check_one_number("center", center, 0, 1)
    distance = np.minimum(np.arange(width), width - np.arange(width))
    lowest = np.argsort(distance, kind="stable")[: max(round(center * width), 1)]
    # The columns in the centre have the lowest priority values, so they come first.
    priority = jax.random.uniform(as_key(key), (width,), jnp.float32).at[lowest].set(-1)
    number = max(round(width / acceleration), len(lowest))
    columns = jnp.zeros(width, jnp.float32).at[jnp.argsort(priority)[:number]].set(1)
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
    "Columns of the 2-D Fourier transform (MRI); needs --simulate.",
    (
        Parameter("acceleration", float, 4.0, low=1, high=100),
        Parameter("center", float, 0.08, low=0, high=1),
        SEED,
    ),
)
WALSH_HADAMARD = Named(
    "walsh_hadamard",
    _walsh_hadamard_by_seed,
    "Rows of the Walsh-Hadamard matrix (compressed sensing); needs --simulate.",
    (Parameter("ratio", float, 0.25, low=1e-3, high=1), SEED),
)
