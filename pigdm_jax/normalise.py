"""Group norm, its scale and shift, and SiLU as one function with its own derivative.

They are most of a UNet's time outside of its convolutions. Written out, XLA's CPU
backend makes many passes over the image of them and of their derivative, several of
which are sums over rows that it does not vectorise. Here statistics are sums over each
channel's pixels, which on CPUs are matrix products, and everything after them is one
multiplication and one addition for each channel.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

GROUPS = 32
EPSILON = 1e-5


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "b n c"],
    scale: Float[Array, "b c"],
    shift: Float[Array, "b c"],
    silu: bool,
) -> Float[Array, "b n c"]:
    """Every group of channels to mean 0 and variance 1, then scale, shift, SiLU.

    Args:
      x: images of n pixels, in float32.
      scale: for every image and channel.
      shift: likewise.
      silu: whether SiLU follows.
    """
    return _evaluated(x, scale, shift, silu)[0]


def _evaluated(x: Array, scale: Array, shift: Array, silu: bool) -> tuple[Array, ...]:
    """The output, and what its derivative needs."""
    centred = x - _per_group(_mean(x))[:, None]
    inverse = jax.lax.rsqrt(_per_group(_mean(jnp.square(centred))) + EPSILON)
    before = centred * (inverse * scale)[:, None] + shift[:, None]
    out = before * jax.nn.sigmoid(before) if silu else before
    return out, centred, inverse, before


@partial(normalise.defjvp, symbolic_zeros=True)
def _tangent(
    silu: bool, primals: tuple[Array, ...], tangents: tuple
) -> tuple[Array, Array]:
    scale = primals[1]
    out, centred, inverse, before = _evaluated(*primals, silu)
    by_x, by_scale, by_shift = (
        None if isinstance(t, jax.custom_derivatives.SymbolicZero) else t
        for t in tangents
    )
    pixels = centred.shape[1]
    tangent = jnp.zeros_like(out)
    if by_x is not None:
        mean = _per_group(_mean(by_x))
        along = inverse**2 * _per_group(_mean(by_x * centred))
        inner = by_x - _spread(mean, pixels) - centred * _spread(along, pixels)
        tangent += (inverse * scale)[:, None] * inner
    if by_scale is not None:
        tangent += centred * _spread(inverse * by_scale, pixels)
    if by_shift is not None:
        tangent += _spread(by_shift, pixels)
    if silu:
        sigmoid = jax.nn.sigmoid(before)
        tangent *= sigmoid * (1 + before * (1 - sigmoid))
    return out, tangent


def _mean(x: Float[Array, "b n c"]) -> Float[Array, "b c"]:
    """The mean over pixels."""

    def product(x: Array) -> Array:
        each = jnp.full(x.shape[:2], 1 / x.shape[1], x.dtype)
        return jax.lax.dot_general(x, each, (((1,), (1,)), ((0,), (0,))))

    return jax.lax.platform_dependent(
        x, cpu=product, default=lambda x: jnp.mean(x, axis=1)
    )


def _spread(values: Float[Array, "b c"], pixels: int) -> Float[Array, "b n c"]:
    """Every pixel gets the value: the transpose of a sum, and so a product too."""
    ones = jnp.ones((values.shape[0], pixels, 1), values.dtype)
    return jax.lax.dot_general(ones, values[:, None], (((2,), (1,)), ((0,), (0,))))


def _per_group(values: Float[Array, "b c"]) -> Float[Array, "b c"]:
    """The mean over each group's channels, for every channel."""
    size = values.shape[-1] // GROUPS
    if size == 1:
        return values
    groups = values.reshape(-1, GROUPS, size).mean(-1)
    return jnp.repeat(groups, size, axis=-1)
