"""Few levels of brightness, and low dynamic range."""

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
from pigdm_jax.operators.composition import Chain, chain
from pigdm_jax.operators.named import Named, Parameter


@pytree_class
class Quantize(Operator):
    """Rounds down to one of 2^bits levels of [-1, 1]; made by `quantize`."""

    image_shape: ImageShape = static_field()
    bits: int = static_field()

    linear = False

    def apply(self, x: Image) -> Image:
        """The lower edge of the level that each value lies in."""
        levels = 2**self.bits
        level = jnp.clip(jnp.floor((x + 1) * (levels / 2)), 0, levels - 1)
        return level * (2 / levels) - 1

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The middle of each level."""
        refuse_damping(damping)
        return y + 0.5**self.bits

    def from_picture(self, picture: Image) -> Image:
        """The levels that a picture's values lie in."""
        return self.apply(picture)

    def to_picture(self, y: Image) -> Image:
        """The middles, which survive the rounding of a file."""
        return self.pinv(y)


@pytree_class
class Clip(Operator):
    """Clips to [-limit, limit]; a step of `low_dynamic_range`."""

    image_shape: ImageShape = static_field()
    limit: float = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Image:
        """The clipped image."""
        return jnp.clip(x, -self.limit, self.limit)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The measurement itself."""
        refuse_damping(damping)
        return y


class Response(NamedTuple):
    """A camera's response on [-1, 1] and its inverse."""

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
    """An invertible curve on every value; a step of `low_dynamic_range`."""

    image_shape: ImageShape = static_field()
    response: Response = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Image:
        """The curve."""
        return self.response.forward(x)

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """Its inverse."""
        refuse_damping(damping)
        return self.response.inverse(y)


def quantize(image_shape: ImageShape, bits: int = 4) -> Quantize:
    """Rounds every value down to one of 2^bits levels of [-1, 1].

    The pseudoinverse is the middle of the level, which rounds to the same level.

    Raises:
      ValueError: if bits is not from 1 to 16.
    """
    image_shape = check_image_shape(image_shape)
    if not 1 <= bits <= 16 or bits != int(bits):
        raise ValueError(f"bits is a whole number from 1 to 16, got {bits}")
    return Quantize(image_shape, int(bits))


def low_dynamic_range(
    image_shape: ImageShape,
    clip: float = 0.6,
    response: str | Response = "identity",
    bits: int = 4,
) -> Chain:
    """A camera of low dynamic range: clip, response curve, few levels.

    Args:
      image_shape: (height, width, channels) of the image.
      clip: values are clipped to [-clip, clip]; above 0, at most 1.
      response: "identity", "gamma" (sign(x) |x|^(1/2.2)), or a `Response`.
      bits: of the levels, 1 to 16.

    Raises:
      ValueError: if a parameter is out of range or the response unknown.

    Reference: Song et al. 2023, appendix A.5, whose values are the defaults.
    """
    image_shape = check_image_shape(image_shape)
    if not 0 < clip <= 1:
        raise ValueError(f"clip is above 0 and at most 1, got {clip}")
    if isinstance(response, str):
        if response not in RESPONSES:
            raise ValueError(
                f"a response is one of {', '.join(RESPONSES)}; got {response!r}"
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
    "A camera of low dynamic range: clip, response curve, few levels.",
    (
        Parameter("clip", float, 0.6, low=1e-3, high=1),
        Parameter("response", str, "identity", choices=tuple(RESPONSES)),
        Parameter("bits", int, 4, low=1, high=16),
    ),
)
