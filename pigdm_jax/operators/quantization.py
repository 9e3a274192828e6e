"""Quantisation to few levels, and a camera of low dynamic range."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    check_image_shape,
    refuse_damping,
)
from pigdm_jax.operators.composition import chain
from pigdm_jax.operators.named import Named, Parameter


@pytree_class
class Quantize(Operator):
    """Values rounded down to one of 2^bits levels of [-1, 1]; see `quantize`."""

    image_shape: ImageShape = static_field()
    bits: int = static_field()

    linear = False

    def apply(self, x: Image) -> Image:
        """The lower edge of the cell that each value lies in."""
        levels = 2**self.bits
        level = jnp.clip(jnp.floor((x + 1) * (levels / 2)), 0, levels - 1)
        return level * (2 / levels) - 1

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The centre of each cell."""
        refuse_damping(damping)
        return y + 0.5**self.bits

    def from_picture(self, picture: Image) -> Image:
        """The lower edges of the cells that the picture's values lie in."""
        return self.apply(picture)

    def to_picture(self, y: Image) -> Image:
        """The centres of the cells, which a file's rounding leaves in their cells."""
        return self.pinv(y)


@pytree_class
class Clip(Operator):
    """Values clipped to [-limit, limit]; a part of `low_dynamic_range`."""

    image_shape: ImageShape = static_field()
    limit: float = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Image:
        """The clipped image."""
        return jnp.clip(x, -self.limit, self.limit)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The measurement, which is an image that it clips to."""
        refuse_damping(damping)
        return y


class Response(NamedTuple):
    """A camera's response curve on [-1, 1] and its inverse.

    Attributes:
      forward: from an image to an image of the same shape, value by value.
      inverse: its inverse.
    """

    forward: Callable[[Image], Image]
    inverse: Callable[[Image], Image]


def _power(exponent: float) -> Callable[[Image], Image]:
    return lambda x: jnp.sign(x) * jnp.abs(x) ** exponent


RESPONSES = {
    "identity": Response(lambda x: x, lambda x: x),
    "gamma": Response(_power(1 / 2.2), _power(2.2)),
}


@pytree_class
class CameraResponse(Operator):
    """An invertible curve applied to every value; a part of `low_dynamic_range`."""

    image_shape: ImageShape = static_field()
    response: Response = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Image:
        """The curve of every value."""
        return self.response.forward(x)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The inverse curve of every value."""
        refuse_damping(damping)
        return self.response.inverse(y)


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
    if not 1 <= bits <= 16 or bits != int(bits):
        raise ValueError(f"bits must be a whole number from 1 to 16, got {bits}")
    return Quantize(image_shape, int(bits))


def low_dynamic_range(
    image_shape: ImageShape,
    clip: float = 0.6,
    response: str | Response = "identity",
    bits: int = 4,
) -> Operator:
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
    if not 0 < clip <= 1:
        raise ValueError(f"clip must be above 0 and at most 1, got {clip}")
    if isinstance(response, str):
        if response not in RESPONSES:
            raise ValueError(
                f"response must be one of {', '.join(RESPONSES)}; got {response!r}"
            )
        response = RESPONSES[response]
    return chain(
        Clip(image_shape, float(clip)),
        CameraResponse(image_shape, response),
        quantize(image_shape, bits),
    )


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
