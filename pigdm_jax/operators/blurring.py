"""Blur by any kernel: separable, circular, or neither."""

import math
from typing import Any

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
    check_image_shape,
)
from pigdm_jax.operators.kronecker import separable, spectral_gain, truncated
from pigdm_jax.operators.named import Named, Parameter
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients

# What numpy.pad calls each boundary.
PAD_MODES = {"zero": "constant", "reflect": "symmetric", "circular": "wrap"}
RTOL = 1e-4


@pytree_class
class CircularBlur(Operator):
    """Convolution on a torus, diagonal under the Fourier transform; made by `blur`."""

    transform: Any  # of the kernel, H x (W // 2 + 1), complex
    rtol: float = static_field()
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """The blurred image."""
        return self._filter(x, self.transform)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """Divides by the spectrum, where it is above rtol times its largest value."""
        size = jnp.abs(self.transform)
        phase = jnp.conj(self.transform) / jnp.where(size > 0, size, 1)
        return self._filter(y, phase * spectral_gain(size, damping, self.rtol))

    @property
    def spectrum(self) -> Spectrum:
        """Frequencies; of each pair of opposite ones one is there."""
        return Spectrum(
            truncated(jnp.abs(self.transform), self.rtol)[..., None],
            lambda x: jnp.fft.rfft2(x, axes=(0, 1), norm="ortho"),
            lambda k: jnp.fft.irfft2(
                k, s=self.image_shape[:2], axes=(0, 1), norm="ortho"
            ),
        )

    def _filter(self, x: Image, transform: Complex[Array, "H half_W"]) -> Image:
        transformed = jnp.fft.rfft2(x, axes=(0, 1)) * transform[..., None]
        return jnp.fft.irfft2(transformed, s=self.image_shape[:2], axes=(0, 1))


@pytree_class
class PaddedBlur(Operator):
    """Convolution of a padded image; inverted iteratively; made by `blur`."""

    transform: Any  # of the kernel, on the padded image's torus
    pad: tuple[tuple[int, int], tuple[int, int]] = static_field()
    mode: str = static_field()
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """The blurred image."""
        padded = jnp.pad(x, (*self.pad, (0, 0)), mode=self.mode)
        transformed = jnp.fft.rfft2(padded, axes=(0, 1)) * self.transform[..., None]
        blurred = jnp.fft.irfft2(transformed, s=padded.shape[:2], axes=(0, 1))
        (top, _), (left, _) = self.pad
        height, width, _ = self.image_shape
        return blurred[top : top + height, left : left + width]

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """By conjugate gradients."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)


def blur(
    image_shape: ImageShape,
    kernel: ArrayLike,
    boundary: str = "zero",
    rtol: float = RTOL,
) -> Operator:
    """Convolves every channel with a kernel; the image keeps its size.

    The kernel's tap ((kh - 1) // 2, (kw - 1) // 2) is its centre, as in
    `scipy.signal.convolve2d(mode="same")`. Kernels are used as given: one that sums
    to 1 keeps the brightness.

    Args:
      image_shape: (height, width, channels) of the image.
      kernel: any 2-D array.
      boundary: what lies outside of the image: "zero", "circular" (the opposite
        side) or "reflect" (the border mirrored).
      rtol: singular values at most this times the largest count as 0 in the
        pseudoinverse. An image measured in 8 bits needs a noise level instead.

    Raises:
      ValueError: if the kernel is not a finite 2-D array or the boundary is unknown.
    """
    image_shape = check_image_shape(image_shape)
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 2 or not kernel.size or not np.isfinite(kernel).all():
        raise ValueError(
            f"a blur kernel is a 2-D array of finite numbers, got {kernel}"
            if kernel.size < 10
            else f"a blur kernel is a 2-D array of finite numbers, got {kernel.shape}"
        )
    if not kernel.any():
        raise ValueError("a blur kernel must have a tap that is not 0")
    if boundary not in PAD_MODES:
        raise ValueError(
            f"a boundary is one of {', '.join(PAD_MODES)}; got {boundary!r}"
        )
    if boundary == "circular":
        transform = torus_transform(kernel, image_shape[:2])
        return CircularBlur(transform, float(rtol), image_shape)
    factors = rank_one(kernel)
    if factors is not None:
        rows, columns = (
            convolution_matrix(size, taps, boundary)
            for size, taps in zip(image_shape, factors, strict=False)
        )
        return separable(image_shape, rows, columns, rtol=rtol)
    kh, kw = kernel.shape
    pad = ((kh // 2, (kh - 1) // 2), (kw // 2, (kw - 1) // 2))
    padded = [n + sum(p) for n, p in zip(image_shape, pad, strict=False)]
    transform = torus_transform(kernel, (padded[0], padded[1]))
    return PaddedBlur(transform, pad, PAD_MODES[boundary], image_shape)


def uniform_blur(
    image_shape: ImageShape,
    size: int = 9,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    """The mean over size x size pixels, all of them; the paper's deblurring task.

    At the border the mirrored image goes on, which keeps brightness and suits photos;
    `boundary` is as for `blur`.

    Raises:
      ValueError: if the size is below 1 or the boundary unknown.
    """
    if size < 1:
        raise ValueError(f"the size of a blur is at least 1 pixel, got {size}")
    return blur(image_shape, np.full((size, size), 1 / size**2), boundary, rtol)


def gaussian_blur(
    image_shape: ImageShape,
    std: float = 2.0,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    """A Gaussian of standard deviation `std` pixels, to four of them on each side.

    Borders are as in `uniform_blur`.

    Raises:
      ValueError: if std is not positive or the boundary unknown.
    """
    if not 0 < std < math.inf:
        raise ValueError(f"the std of a blur is above 0 pixels, got {std}")
    reach = math.ceil(4 * std)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / std) ** 2)
    taps /= taps.sum()
    return blur(image_shape, np.outer(taps, taps), boundary, rtol)


def motion_blur(
    image_shape: ImageShape,
    length: float = 9.0,
    angle: float = 0.0,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    """A camera that moves evenly along a line during the exposure.

    Args:
      image_shape: (height, width, channels) of the image.
      length: of the line in pixels, above 0.
      angle: of the line in degrees, counter-clockwise from horizontal.
      boundary: as for `blur`.
      rtol: as for `blur`.

    Raises:
      ValueError: if the length is not positive or the boundary unknown.
    """
    if not 0 < length < math.inf:
        raise ValueError(f"the length of a motion blur is above 0 pixels, got {length}")
    along = np.linspace(-length / 2, length / 2, 64 * math.ceil(length) + 1)
    angle = math.radians(angle)
    reach = math.ceil(length / 2)
    taps = np.zeros((2 * reach + 1, 2 * reach + 1))
    # Each point of the line is shared among the four pixels around it.
    places = reach + np.outer(along, [-math.sin(angle), math.cos(angle)])
    corner = np.clip(np.floor(places).astype(int), 0, 2 * reach - 1)
    share = places - corner
    for down in (0, 1):
        for right in (0, 1):
            weight = np.prod(np.abs(1 - np.array([down, right]) - share), axis=1)
            np.add.at(taps, (corner[:, 0] + down, corner[:, 1] + right), weight)
    return blur(image_shape, taps / taps.sum(), boundary, rtol)


def rank_one(
    kernel: Float[np.ndarray, "kh kw"],
) -> tuple[Float[np.ndarray, " kh"], Float[np.ndarray, " kw"]] | None:
    """Column and row taps whose outer product is the kernel, if there are any."""
    left, values, right = np.linalg.svd(kernel)
    if len(values) > 1 and values[1] > 1e-7 * values[0]:
        return None
    root = np.sqrt(values[0])
    return left[:, 0] * root, right[0] * root


def convolution_matrix(
    size: int, taps: Float[np.ndarray, " k"], boundary: str
) -> Float[np.ndarray, "n n"]:
    """The matrix that convolves a line of `size` pixels with taps."""
    k = len(taps)
    before, after = k // 2, (k - 1) // 2
    # Which pixel a place of the padded line shows; -1 for none.
    if boundary == "zero":
        shown = np.pad(np.arange(size), (before, after), constant_values=-1)
    else:
        shown = np.pad(np.arange(size), (before, after), PAD_MODES[boundary])
    matrix = np.zeros((size, size))
    for row in range(size):
        window = shown[row : row + k]
        np.add.at(matrix[row], window[window >= 0], taps[::-1][window >= 0])
    return matrix


def torus_transform(
    kernel: Float[np.ndarray, "kh kw"], size: tuple[int, int]
) -> Complex[Array, "H half_W"]:
    """The Fourier transform of a kernel centred at the origin of a torus."""
    canvas = np.zeros(size)
    rows, columns = (
        (np.arange(k) - (k - 1) // 2) % n
        for k, n in zip(kernel.shape, size, strict=True)
    )
    np.add.at(canvas, np.ix_(rows, columns), kernel)
    return jnp.asarray(np.fft.rfft2(canvas), jnp.complex64)


def _blur_by_file(
    image_shape: ImageShape,
    kernel: ArrayLike,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    return blur(image_shape, kernel, boundary, rtol)


BOUNDARY = Parameter("boundary", str, "reflect", choices=tuple(PAD_MODES))
SMALLEST_VALUE = Parameter("rtol", float, RTOL, low=0, high=1)
# Wider blurs leave nothing of a photo, and their matrices take minutes.
WIDEST = 255

BLUR = Named(
    "blur",
    _blur_by_file,
    "Blur by a kernel from a picture FILE, scaled to sum 1.",
    (Parameter("kernel", str, file_kind="kernel"), BOUNDARY, SMALLEST_VALUE),
)
UNIFORM_BLUR = Named(
    "uniform_blur",
    uniform_blur,
    "Average over a square of pixels.",
    (Parameter("size", int, 9, low=1, high=WIDEST), BOUNDARY, SMALLEST_VALUE),
)
GAUSSIAN_BLUR = Named(
    "gaussian_blur",
    gaussian_blur,
    "Gaussian blur of a standard deviation in pixels.",
    (Parameter("std", float, 2.0, low=0.01, high=WIDEST / 8), BOUNDARY, SMALLEST_VALUE),
)
MOTION_BLUR = Named(
    "motion_blur",
    motion_blur,
    "A camera that moves evenly along a line during the exposure.",
    (
        Parameter("length", float, 9.0, low=0.01, high=WIDEST),
        Parameter("angle", float, 0.0, low=-360, high=360),
        BOUNDARY,
        SMALLEST_VALUE,
    ),
)
