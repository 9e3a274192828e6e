"""Quantisation to few levels, and a camera of low dynamic range."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from pigdm_jax.core.checks import check_choice, check_count, check_one_number
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    Relaxation,
    check_image_shape,
    refuse_damping,
)
from pigdm_jax.operators.cropping import identity
from pigdm_jax.operators.named import Named, Parameter


class Response(NamedTuple):
    """A camera's response curve on [-1, 1], which increases, and its inverse.

    Attributes:
      forward: from an image to an image of the same shape, value by value.
      inverse: its inverse.
    """

    forward: Callable[[Image], Image]
    inverse: Callable[[Image], Image]


def _same(x: Image) -> Image:
    return x


def _power(exponent: float) -> Callable[[Image], Image]:
    return lambda x: jnp.sign(x) * jnp.abs(x) ** exponent


RESPONSES = {
    "identity": Response(_same, _same),
    "gamma": Response(_power(1 / 2.2), _power(2.2)),
}

# Standard deviation of the error that quantisation counts as, in widths of a cell: that
# of a uniform error, and of values that clipping has changed. Chosen on eight BSDS500
# photos, among 0.17 and 0.29, and among 0.17, 0.5, 1 and 2.
ERROR_STD, CLIPPED_STD = 12**-0.5, 0.5
# A value that has left its cell is moved so far into it, in widths, that rounding does
# not put it outside again.
MARGIN = 2**-5


@pytree_class
class Quantize(Operator):
    """Values clipped, put through a curve and rounded down to one of 2^bits levels.

    See `quantize` and `low_dynamic_range`.
    """

    image_shape: ImageShape = static_field()
    bits: int = static_field()
    limit: float = static_field(default=1.0)
    response: Response = static_field(default=RESPONSES["identity"])

    linear = False

    def apply(self, x: Image) -> Image:
        """The lower edge of the cell that each value lies in."""
        levels = 2**self.bits
        seen = self.response.forward(jnp.clip(x, -self.limit, self.limit))
        level = jnp.clip(jnp.floor((seen + 1) * (levels / 2)), 0, levels - 1)
        return level * (2 / levels) - 1

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The inverse of the curve at the centre of each cell."""
        refuse_damping(damping)
        return self.response.inverse(y + 0.5**self.bits)

    def cells(self, y: Image, margin: float = 0.0) -> tuple[Image, Image]:
        """The smallest and the largest image in [-1, 1] that measure y.

        Args:
          y: a measurement.
          margin: how far from the cells' borders to stay, in widths; where clipping is
            the border, it is not moved.
        """
        width = 2 * 0.5**self.bits
        edges = y + margin * width, y + (1 - margin) * width
        low, high = (self.response.inverse(jnp.clip(edge, -1, 1)) for edge in edges)
        # Borders that clipping moves to the end of the range.
        first, last = (self.apply(jnp.full_like(y, end)) for end in (-1.0, 1.0))
        return jnp.where(y <= first, -1.0, low), jnp.where(y >= last, 1.0, high)

    def relaxed(self, y: Image) -> Relaxation:
        """The identity: the centre of each cell, with its width as noise."""
        low, high = self.cells(y)
        clipped = (low == -1) | (high == 1)
        noise_std = jnp.where(clipped, CLIPPED_STD, ERROR_STD) * (high - low)
        return Relaxation(identity(self.image_shape), (low + high) / 2, noise_std)

    def nearest(self, x: Image, y: Image) -> Image:
        """Every value that has left its cell moves to the cell's border."""
        low, high = self.cells(y, MARGIN)
        return jnp.clip(x, low, high)

    def from_picture(self, picture: Image) -> Image:
        """The lower edges of the cells that the picture's values lie in.

        A picture shows the centres of the cells, after the curve.
        """
        plain = Quantize(self.image_shape, self.bits)
        return plain.apply(picture)

    def to_picture(self, y: Image) -> Image:
        """The centres of the cells, which a file's rounding leaves in their cells."""
        return y + 0.5**self.bits


def quantize(image_shape: ImageShape, bits: int = 4) -> Quantize:
    """Every value rounded down to one of 2^bits levels of [-1, 1].

    The pseudoinverse is the centre of the cell, which rounds to the same level.

    Args:
      image_shape: (height, width, channels) of the image.
      bits: 1 to 16.

    Returns:
      A non-linear operator to images of the same shape.

    Raises:
      ValueError: if bits is not a whole number from 1 to 16.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.quantize((8, 8, 3), bits=2)
      >>> y = operator.apply(jnp.full((8, 8, 3), 0.3))
      >>> float(y.mean()), float(operator.pinv(y).mean())
      (0.0, 0.25)
    """
    image_shape = check_image_shape(image_shape)
    check_count("bits", bits, 1, 16)
    return Quantize(image_shape, int(bits))


def low_dynamic_range(
    image_shape: ImageShape,
    clip: float = 0.6,
    response: str | Response = "identity",
    bits: int = 4,
) -> Quantize:
    """A camera of low dynamic range: clipping, a response curve, few levels.

    Args:
      image_shape: (height, width, channels) of the image.
      clip: values are clipped to [-clip, clip]; above 0, at most 1.
      response: "identity", "gamma" (sign(x) |x|^(1/2.2)), or a `Response`.
      bits: the image is quantised to 2^bits levels; 1 to 16.

    Returns:
      A non-linear operator to images of the same shape.

    Raises:
      ValueError: if a parameter is out of range or the response is unknown.

    Reference: Song et al. 2023, appendix A.5, whose values are the defaults.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.low_dynamic_range((8, 8, 3), clip=0.5, bits=2)
      >>> float(operator.apply(jnp.ones((8, 8, 3))).mean())
      0.5
    """
    image_shape = check_image_shape(image_shape)
    clip = check_one_number("clip", clip, 0, 1, above=True)
    if not isinstance(response, Response):
        check_choice("response", response, RESPONSES)
        response = RESPONSES[response]
    quantized = quantize(image_shape, bits)
    return dataclasses.replace(quantized, limit=clip, response=response)


QUANTIZE = Named(
    "quantize",
    quantize,
    "Round every value down to one of 2^bits levels.",
    (Parameter("bits", int, 4, low=1, high=16),),
)
LOW_DYNAMIC_RANGE = Named(
    "low_dynamic_range",
    low_dynamic_range,
    "A camera of low dynamic range: clipping, response curve, few levels.",
    (
        Parameter("clip", float, 0.6, low=1e-3, high=1),
        Parameter("response", str, "identity", choices=tuple(RESPONSES)),
        Parameter("bits", int, 4, low=1, high=16),
    ),
)
