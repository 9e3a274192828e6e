"""Convolution with a 2-D kernel, and what is computed from the kernel beforehand."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import Damping, Image, ImageShape, Operator, Spectrum
from pigdm_jax.operators.kronecker import check_matrix, spectral_gain, truncated
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients

# numpy.pad's mode for each boundary.
PAD_MODES = {"zero": "constant", "reflect": "symmetric", "circular": "wrap"}


@pytree_class
class CircularBlur(Operator):
    """Circular convolution, diagonal under the Fourier transform; see `blur`."""

    transform: Any  # rfft2 of the kernel, H x (W // 2 + 1)
    rtol: float = static_field()
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """The blurred image."""
        return self.filtered(x, self.transform)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """Division by the kernel's transform, where above rtol times its maximum."""
        size = jnp.abs(self.transform)
        phase = jnp.conj(self.transform) / jnp.where(size > 0, size, 1).astype(
            self.transform.dtype
        )
        gain = spectral_gain(size, damping, self.rtol)
        return self.filtered(y, phase * gain.astype(phase.dtype))

    @property
    def spectrum(self) -> Spectrum:
        """Frequencies; one of each pair of opposite ones."""
        return Spectrum(
            truncated(jnp.abs(self.transform), self.rtol)[..., None],
            lambda x: jnp.fft.rfft2(x, axes=(0, 1), norm="ortho"),
            lambda k: jnp.fft.irfft2(
                k, s=self.image_shape[:2], axes=(0, 1), norm="ortho"
            ),
        )

    def filtered(self, x: Image, transform: Inexact[Array, "H half_W"]) -> Image:
        """An image times a transform, frequency by frequency."""
        transformed = jnp.fft.rfft2(x, axes=(0, 1)) * transform[..., None]
        return jnp.fft.irfft2(transformed, s=self.image_shape[:2], axes=(0, 1))


@pytree_class
class PaddedBlur(Operator):
    """Convolution of a padded image, inverted by conjugate gradients; see `blur`."""

    transform: Any  # rfft2 of the kernel in the padded image's size
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
        """The (damped) pseudoinverse by conjugate gradients."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)


def rank_one(
    kernel: Float[np.ndarray, "kh kw"],
) -> tuple[Float[np.ndarray, " kh"], Float[np.ndarray, " kw"]] | None:
    """Column and row taps whose outer product is the kernel; None if there are none."""
    u, values, v_t = np.linalg.svd(kernel)
    if len(values) > 1 and values[1] > 1e-7 * values[0]:
        return None
    root = np.sqrt(values[0])
    return u[:, 0] * root, v_t[0] * root


def convolution_matrix(
    size: int, taps: Float[np.ndarray, " k"], boundary: str
) -> Float[np.ndarray, "n n"]:
    """The matrix that convolves a line of `size` pixels with `taps`.

    Args:
      size: number of pixels, n.
      taps: the kernel; tap (k - 1) // 2 is its centre.
      boundary: "zero" or "reflect".
    """
    check_matrix(size, size)
    k = len(taps)
    before, after = k // 2, (k - 1) // 2
    # The index of the pixel at each position of the padded line; -1 for none.
    indices = np.arange(size)
    if boundary == "zero":
        indices = np.pad(indices, (before, after), constant_values=-1)
    else:
        indices = np.pad(indices, (before, after), mode="symmetric")
    matrix = np.zeros((size, size))
    for row in range(size):
        window = indices[row : row + k]
        np.add.at(matrix[row], window[window >= 0], taps[::-1][window >= 0])
    return matrix


def kernel_transform(
    kernel: Float[np.ndarray, "kh kw"], size: tuple[int, int]
) -> Complex[Array, "H half_W"]:
    """The real 2-D Fourier transform of a kernel whose centre is at pixel (0, 0).

    Args:
      kernel: its centre is tap ((kh - 1) // 2, (kw - 1) // 2).
      size: (height, width) of the transform; a larger kernel wraps around.
    """
    canvas = np.zeros(size)
    rows, columns = (
        (np.arange(k) - (k - 1) // 2) % n
        for k, n in zip(kernel.shape, size, strict=True)
    )
    np.add.at(canvas, np.ix_(rows, columns), kernel)
    return jnp.asarray(np.fft.rfft2(canvas), jnp.complex64)
