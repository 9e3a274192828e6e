"""Blurs of a photo whose scene goes on beyond its border."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    Spectrum,
    Wider,
)
from pigdm_jax.operators.convolution import CircularBlur, kernel_transform
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients

# The kernel's weight along an axis that may lie farther out than what is restored
# around the photo.
OUTSIDE = 0.01
# Residual, relative to the right-hand side, and largest number of iterations: a part of
# what an evaluation of a network takes.
TOLERANCE, ITERATIONS = 1e-4, 30
# Relative to the largest squared singular value. With less, it does not converge in so
# few iterations.
LEAST_DAMPING = 3e-4


@pytree_class
class CutBlur(Operator):
    """The middle of a circularly blurred image, inverted approximately.

    The normal equations of the whole image are diagonal under the Fourier transform.
    Those of its middle differ by the frame around it, so that conjugate gradients
    preconditioned by the former need few iterations.
    """

    blur: CircularBlur
    frame: tuple[tuple[int, int], tuple[int, int]] = static_field()
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Measurement:
        """The blurred image without the frame."""
        (top, bottom), (left, right) = self.frame
        height, width, _ = self.image_shape
        return self.blur.apply(x)[top : height - bottom, left : width - right]

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The pseudoinverse, damped a little in any case, to a few per cent."""
        gain = jnp.abs(self.blur.transform) ** 2
        damping = jnp.maximum(damping, LEAST_DAMPING * jnp.max(gain))
        inverse = 1 / (gain + damping)
        return pinv_by_conjugate_gradients(
            self.apply,
            self.image_shape,
            y,
            damping,
            precondition=lambda r: self.blur.filtered(r, inverse),
            tolerance=TOLERANCE,
            iterations=ITERATIONS,
        )


@pytree_class
class OpenBlur(Operator):
    """A blur for which nothing is known of what lies outside of the photo.

    As an operator it is `closed`, which assumes something. `restore` uses `wider`.
    """

    closed: Operator
    cut: CutBlur
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """As `closed`."""
        return self.closed.apply(x)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """As `closed`."""
        return self.closed.pinv(y, damping)

    @property
    def spectrum(self) -> Spectrum | None:
        """As `closed`."""
        return self.closed.spectrum

    @property
    def wider(self) -> Wider:
        """The same photo as the middle of a blurred image."""
        (top, _), (left, _) = self.cut.frame
        return Wider(self.cut, top, left)


def open_blur(closed: Operator, taps: Float[np.ndarray, "kh kw"], rtol: float) -> Any:
    """A blur whose photo goes on beyond its border.

    Args:
      closed: the same blur with a border that is known.
      taps: the kernel.
      rtol: as for `blur`.
    """
    height, width, channels = closed.image_shape
    frame = _reach(np.abs(taps).sum(1)), _reach(np.abs(taps).sum(0))
    (top, bottom), (left, right) = frame
    size = height + top + bottom, width + left + right
    shape = (*size, channels)
    blur = CircularBlur(kernel_transform(taps, size), float(rtol), shape)
    return OpenBlur(closed, CutBlur(blur, frame, shape), closed.image_shape)


def _reach(weights: Float[np.ndarray, " k"]) -> tuple[int, int]:
    """How far a kernel with these weights along an axis sees before and behind."""
    centre = (len(weights) - 1) // 2
    share = np.cumsum(weights) / weights.sum()
    first = np.argmax(share > OUTSIDE / 2)
    last = np.argmax(share >= 1 - OUTSIDE / 2)
    # A convolution sees the other side of its kernel.
    return max(int(last) - centre, 0), max(centre - int(first), 0)
