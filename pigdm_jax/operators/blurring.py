"""Blur operators: any kernel, uniform, Gaussian and motion blur."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.core.checks import check_choice, check_count, check_one_number
from pigdm_jax.operators.base import ImageShape, Operator, check_image_shape
from pigdm_jax.operators.convolution import (
    PAD_MODES,
    CircularBlur,
    PaddedBlur,
    convolution_matrix,
    kernel_transform,
    rank_one,
)
from pigdm_jax.operators.kronecker import separable
from pigdm_jax.operators.named import Named, Parameter
from pigdm_jax.operators.open_border import open_blur

RTOL = 1e-4
BOUNDARIES = (*PAD_MODES, "unknown")
# With a larger kernel a photo is unrecognisable, and the matrices take minutes.
SMALLEST_SIZE, LARGEST_SIZE = 0.01, 255
LARGEST_STD = LARGEST_SIZE / 8
LARGEST_KERNEL = LARGEST_SIZE + 2  # that of the largest Gaussian


def blur(
    image_shape: ImageShape,
    kernel: ArrayLike,
    boundary: str = "zero",
    rtol: float = RTOL,
) -> Operator:
    """Convolution of every channel with a kernel; the image keeps its size.

    The centre of the kernel is tap ((kh - 1) // 2, (kw - 1) // 2), as in
    `scipy.signal.convolve2d(mode="same")`. The kernel is not normalised: the brightness
    is unchanged only if its taps sum to 1.

    Args:
      image_shape: (height, width, channels) of the image.
      kernel: taps, (kh, kw).
      boundary: the pixels outside of the image: "zero", "reflect" (mirrored at the
        border's outer edge), "circular" (those of the opposite side) or "unknown", as
        for a photo: `restore` finds them, too. Elsewhere that is "reflect".
      rtol: the pseudoinverse treats singular values of at most rtol times the largest
        as 0. For a y that was rounded to 8 bits, use a noise level as well.

    Returns:
      A linear operator to images of the same shape.

    Raises:
      ValueError: if the kernel is not 2-D, not finite, 0 or larger than 257 x 257, the
        boundary is unknown, or rtol is out of range or without effect.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> kernel = jnp.full((3, 3), 1 / 9)
      >>> operator = operators.blur((8, 8, 3), kernel, "reflect")
      >>> y = operator.apply(jnp.ones((8, 8, 3)))
      >>> y.shape, round(float(y.mean()), 4)
      ((8, 8, 3), 1.0)
    """
    height, width, _ = image_shape = check_image_shape(image_shape)
    taps = _check_kernel(kernel)
    rtol = check_one_number("rtol", rtol, 0, 1)
    check_choice("boundary", boundary, BOUNDARIES)
    if boundary == "unknown":
        return open_blur(blur(image_shape, kernel, "reflect", rtol), taps, rtol)
    if boundary == "circular":
        transform = kernel_transform(taps, (height, width))
        return CircularBlur(transform, float(rtol), image_shape)
    factors = rank_one(taps)
    if factors is not None:
        rows = convolution_matrix(height, factors[0], boundary)
        columns = convolution_matrix(width, factors[1], boundary)
        return separable(image_shape, rows, columns, rtol=rtol)
    if rtol != RTOL:
        raise ValueError(
            "rtol has an effect only if the kernel is separable or the boundary "
            "circular; leave it out"
        )
    kh, kw = taps.shape
    pad = ((kh // 2, (kh - 1) // 2), (kw // 2, (kw - 1) // 2))
    padded = (height + kh - 1, width + kw - 1)
    transform = kernel_transform(taps, padded)
    return PaddedBlur(transform, pad, PAD_MODES[boundary], image_shape)


def _check_kernel(kernel: ArrayLike) -> Float[np.ndarray, "kh kw"]:
    """The kernel in float64.

    Raises:
      ValueError: if it is not 2-D, not finite, 0 or too large.
    """
    taps = as_numbers("a blur kernel", kernel)
    if taps.ndim != 2 or not taps.size:
        shown = taps if taps.size < 10 else f"an array of shape {taps.shape}"
        raise ValueError(
            f"a blur kernel must be a 2-D array of finite numbers, got {shown}"
        )
    if max(taps.shape) > LARGEST_KERNEL:
        raise ValueError(
            f"a blur kernel must have at most {LARGEST_KERNEL} x {LARGEST_KERNEL} "
            f"taps, got {taps.shape[0]} x {taps.shape[1]}"
        )
    if not taps.any():
        raise ValueError("a blur kernel must have a tap that is not 0")
    return taps


def uniform_blur(
    image_shape: ImageShape,
    size: int = 9,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    """The mean over squares of size x size pixels, as in the paper's deblurring task.

    Args:
      image_shape: (height, width, channels) of the image.
      size: side of the square in pixels, 1 to 255.
      boundary: as for `blur`; the default keeps the brightness at the border.
      rtol: as for `blur`.

    Returns:
      A linear operator to images of the same shape.

    Raises:
      ValueError: if the size is out of range or the boundary is unknown.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.uniform_blur((8, 8, 1), 2)
      >>> y = operator.apply(jnp.zeros((8, 8, 1)).at[4, 4].set(1))
      >>> round(float(y.max()), 4)
      0.25
    """
    check_count("the size of a blur", size, 1, LARGEST_SIZE)
    return blur(image_shape, np.full((size, size), 1 / size**2), boundary, rtol)


def gaussian_blur(
    image_shape: ImageShape,
    std: float = 2.0,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    """Convolution with a Gaussian, cut off at four standard deviations.

    Args:
      image_shape: (height, width, channels) of the image.
      std: standard deviation in pixels, 0.01 to 31.875.
      boundary: as for `blur`; the default keeps the brightness at the border.
      rtol: as for `blur`.

    Returns:
      A linear operator to images of the same shape.

    Raises:
      ValueError: if std is out of range or the boundary is unknown.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.gaussian_blur((8, 8, 3), 1.5)
      >>> y = operator.apply(jnp.ones((8, 8, 3)))
      >>> y.shape, round(float(y.mean()), 4)
      ((8, 8, 3), 1.0)
    """
    check_one_number("the std of a blur", std, SMALLEST_SIZE, LARGEST_STD)
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
    """A camera that moves along a line at constant speed during the exposure.

    Args:
      image_shape: (height, width, channels) of the image.
      length: of the line in pixels, 0.01 to 255.
      angle: of the line in degrees, counter-clockwise from horizontal, -360 to 360.
      boundary: as for `blur`; the default keeps the brightness at the border.
      rtol: as for `blur`.

    Returns:
      A linear operator to images of the same shape.

    Raises:
      ValueError: if length or angle is out of range or the boundary is unknown.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.motion_blur((8, 8, 3), length=4, angle=45)
      >>> y = operator.apply(jnp.ones((8, 8, 3)))
      >>> y.shape, round(float(y.mean()), 4)
      ((8, 8, 3), 1.0)
    """
    check_one_number("the length of a motion blur", length, SMALLEST_SIZE, LARGEST_SIZE)
    check_one_number("the angle of a motion blur", angle, -360, 360)
    return blur(image_shape, _motion_kernel(length, angle), boundary, rtol)


def _motion_kernel(length: float, angle: float) -> Float[np.ndarray, "k k"]:
    """A line segment through the centre, sampled densely with bilinear weights."""
    distances = np.linspace(-length / 2, length / 2, 64 * math.ceil(length) + 1)
    radians = math.radians(angle)
    reach = math.ceil(length / 2)
    taps = np.zeros((2 * reach + 1, 2 * reach + 1))
    points = reach + np.outer(distances, [-math.sin(radians), math.cos(radians)])
    corners = np.clip(np.floor(points).astype(int), 0, 2 * reach - 1)
    offsets = points - corners
    for down in (0, 1):
        for right in (0, 1):
            weights = np.prod(np.abs(1 - np.array([down, right]) - offsets), axis=1)
            np.add.at(taps, (corners[:, 0] + down, corners[:, 1] + right), weights)
    return taps / taps.sum()


def _blur_by_file(
    image_shape: ImageShape,
    kernel: ArrayLike,
    boundary: str = "reflect",
    rtol: float = RTOL,
) -> Operator:
    return blur(image_shape, kernel, boundary, rtol)


BOUNDARY = Parameter("boundary", str, "reflect", choices=BOUNDARIES)
SMALLEST_VALUE = Parameter("rtol", float, RTOL, low=0, high=1)
BLUR = Named(
    "blur",
    _blur_by_file,
    "Blur by a kernel from a picture FILE, normalised to sum 1.",
    (Parameter("kernel", str, file_kind="kernel"), BOUNDARY, SMALLEST_VALUE),
    must_be_known="the blur's kernel",
)
UNIFORM_BLUR = Named(
    "uniform_blur",
    uniform_blur,
    "Mean over a square of pixels.",
    (Parameter("size", int, 9, low=1, high=LARGEST_SIZE), BOUNDARY, SMALLEST_VALUE),
    must_be_known="the blur's size",
)
GAUSSIAN_BLUR = Named(
    "gaussian_blur",
    gaussian_blur,
    "Gaussian blur with a standard deviation in pixels.",
    (
        Parameter("std", float, 2.0, low=SMALLEST_SIZE, high=LARGEST_STD),
        BOUNDARY,
        SMALLEST_VALUE,
    ),
    must_be_known="the blur's standard deviation",
)
MOTION_BLUR = Named(
    "motion_blur",
    motion_blur,
    "Camera motion along a line during the exposure.",
    (
        Parameter("length", float, 9.0, low=SMALLEST_SIZE, high=LARGEST_SIZE),
        Parameter("angle", float, 0.0, low=-360, high=360),
        BOUNDARY,
        SMALLEST_VALUE,
    ),
    must_be_known="the motion's length and angle",
)
