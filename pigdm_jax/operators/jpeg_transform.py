"""The linear part of JPEG: colours, chroma averages and the DCT of 8 x 8 pixels."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import EXACT, Damping, Image, ImageShape, Operator
from pigdm_jax.operators.jpeg_blocks import (
    SUBSAMPLINGS,
    TO_YCBCR,
    Plane,
    transform,
)
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients


class JpegCoefficients(NamedTuple):
    """The coefficients of a JPEG file, or whatever there is one of for each of them.

    Attributes:
      y: luma, (block rows, block columns, 8, 8), vertical frequency first.
      cb: blue difference, as y; None for a grey image.
      cr: red difference, as y; None for a grey image.
    """

    y: Any
    cb: Any
    cr: Any


def planes(pixels: Image, subsampling: str) -> tuple[Plane, ...]:
    """Luma and the two averaged colour differences of pixels, or grey pixels alone."""
    pixels = jnp.asarray(pixels)
    height, width, channels = pixels.shape
    if channels == 1:
        return (pixels[..., 0],)
    matrix = jnp.asarray(TO_YCBCR, jnp.float32)
    luma, *differences = jnp.einsum("hwc,yc->yhw", pixels, matrix, precision=EXACT)
    down, across = SUBSAMPLINGS[subsampling]
    pad = ((0, -height % down), (0, -width % across))
    shape = (-(-height // down), down, -(-width // across), across)
    averages = (
        jnp.pad(difference, pad, mode="edge").reshape(shape).mean((1, 3))
        for difference in differences
    )
    return (luma, *averages)


@pytree_class
class JpegTransform(Operator):
    """JPEG without quantisation; the measurement is `JpegCoefficients`.

    The coefficients are those of a file, not rounded, without the offset of luma, and
    divided by `unit`, so that the rows of H have length 1: independent noise in the
    pixels has the same standard deviation in the coefficients. (In blocks that the
    border cuts the length is between 0.5 and 2.)
    """

    image_shape: ImageShape = static_field()
    subsampling: str = static_field()

    linear = True

    @property
    def tight(self) -> float | None:
        """1 for a grey image of whole blocks, where H is orthogonal."""
        height, width, channels = self.image_shape
        return 1.0 if channels == 1 and height % 8 == width % 8 == 0 else None

    @property
    def unit(self) -> JpegCoefficients:
        """The coefficient of a file that is 1 here, for each plane."""
        if self.image_shape[2] == 1:
            return JpegCoefficients(127.5, None, None)
        luma, *chroma = 127.5 * np.linalg.norm(TO_YCBCR, axis=1)
        averaged = np.sqrt(np.prod(SUBSAMPLINGS[self.subsampling]))
        return JpegCoefficients(luma, *(length / averaged for length in chroma))

    def apply(self, x: Image) -> JpegCoefficients:
        """The coefficients of an image."""
        unit = self.unit
        blocks = [
            transform(plane) * (127.5 / length)
            for plane, length in zip(planes(x, self.subsampling), unit, strict=False)
        ]
        return JpegCoefficients(*blocks, *[None] * (3 - len(blocks)))

    def pinv(self, y: JpegCoefficients, damping: Damping = 0.0) -> Image:
        """The exact (damped) pseudoinverse, by conjugate gradients."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)
