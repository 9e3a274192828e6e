"""Downsampling by a whole factor, for super-resolution."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from pigdm_jax.core.checks import check_choice, check_count
from pigdm_jax.operators.base import ImageShape, check_image_shape
from pigdm_jax.operators.kronecker import Separable, check_matrix, separable
from pigdm_jax.operators.named import Named, Parameter

Profile = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]


def box(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The box kernel: 1 for |x| < 1/2, in pixels of the small image."""
    return (np.abs(x) < 0.5).astype(np.float64)


def bicubic(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Keys' cubic with a = -0.5, for |x| < 2 pixels of the small image."""
    a, x = -0.5, np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def lanczos3(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """sinc(x) sinc(x / 3), for |x| < 3 pixels of the small image."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


# Each with its support to either side, in pixels of the small image.
KERNELS: dict[str, tuple[Profile, int]] = {
    "box": (box, 1),
    "bicubic": (bicubic, 2),
    "lanczos3": (lanczos3, 3),
}


def downsampling_matrix(
    size: int, factor: int, profile: Profile, reach: int
) -> Float[np.ndarray, "m n"]:
    """The matrix that downsamples a line of pixels; borders are reflected.

    Output pixel o lies at position o * factor + (factor - 1) / 2 of the input. It is
    the mean of the pixels around it, weighted by the profile stretched by the factor.

    Args:
      size: number of input pixels, n, a multiple of factor.
      factor: n / m.
      profile: the kernel, over pixels of the small image.
      reach: its support to either side, in pixels of the small image.

    Returns:
      The matrix, m x n; its rows sum to 1.
    """
    check_matrix(size // factor, size)
    matrix = np.zeros((size // factor, size))
    # Reflection about the outer edge of the border pixel: -1 is 0, size is size - 1.
    period = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    taps = np.arange(-reach * factor, (reach + 1) * factor)
    weights = profile((taps - (factor - 1) / 2) / factor)
    weights /= weights.sum()
    for o, row in enumerate(matrix):
        np.add.at(row, period[(o * factor + taps) % (2 * size)], weights)
    return matrix


def super_resolution(
    image_shape: ImageShape, factor: int, kernel: str = "box"
) -> Separable:
    """Downsampling by a whole factor.

    "box" is the mean over blocks of factor x factor pixels (the paper's Pool), for
    which H H^T = I / factor^2. "bicubic" is the kernel of DDRM and the paper:
    separable, antialiased, 4 factor taps, a = -0.5, reflected borders. "lanczos3" has
    6 factor taps and the same borders.

    Args:
      image_shape: (height, width, channels) of the large image.
      factor: at least 1; height and width must be multiples of it.
      kernel: "box", "bicubic" or "lanczos3".

    Returns:
      A linear operator to images of shape (height / factor, width / factor, channels).

    Raises:
      ValueError: if the factor does not divide the image or the kernel is unknown.

    Reference: Song et al. 2023, section 5.1; Kawar et al. 2022 (DDRM), appendix D.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.super_resolution((8, 8, 3), 4)
      >>> operator.measurement_shape, operator.tight
      ((2, 2, 3), 0.0625)
    """
    image_shape = check_image_shape(image_shape)
    height, width, _ = image_shape
    check_count("the factor of super_resolution", factor)
    if height % factor or width % factor:
        raise ValueError(
            f"super_resolution by {factor} needs a height and width that are multiples "
            f"of {factor}; the image is {height} x {width}"
        )
    check_choice("a super_resolution kernel", kernel, KERNELS)
    rows, columns = (
        downsampling_matrix(size, factor, *KERNELS[kernel]) for size in (height, width)
    )
    return separable(image_shape, rows, columns)


SUPER_RESOLUTION = Named(
    "super_resolution",
    super_resolution,
    "Downsampling by a whole factor; its restoration is larger than the picture.",
    (
        Parameter("factor", int, low=1, high=64),
        Parameter("kernel", str, "box", choices=tuple(KERNELS)),
    ),
    scale_parameter="factor",
)
