"""Norms with scale, shift and SiLU as one function with its own derivative.

Besides convolutions these take most of a UNet's time. Written in plain JAX they are
slow on CPUs for two reasons, which two linear primitives, each the other's transpose,
avoid. XLA does not vectorise sums over rows: `pixel_sum` is a matrix product on CPUs.
And XLA fuses the arithmetic of a channel into that of its pixels and so repeats it for
every pixel: `pixel_broadcast` has a barrier before the broadcast.

For the derivative only the input and the statistics of each group are stored; the rest
is recomputed, which takes no longer than reading it from memory.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_KEPT = "statistics"


def normalise(
    x: Float[Array, "b n c"],
    scale: Float[Array, "b c"],
    shift: Float[Array, "b c"],
    silu: bool,
    groups: int = 32,
    epsilon: float = 1e-5,
) -> Float[Array, "b n c"]:
    """Group norm, x -> silu(scale (x - mean) / sqrt(variance + epsilon) + shift).

    Mean and variance are those of each group of channels.

    Args:
      x: images of n pixels.
      scale: a factor for each image and channel.
      shift: a summand for each image and channel.
      silu: whether SiLU is applied.
      groups: number of groups; it divides the number of channels.
      epsilon: summand of the variance.

    Returns:
      The images in float32; everything is computed in float32.
    """

    def in_float32(x: Array, scale: Array, shift: Array) -> Array:
        return _normalise(
            _Form(silu, groups, epsilon), x.astype(jnp.float32), scale, shift
        )

    policy = jax.checkpoint_policies.save_only_these_names(_KEPT)
    return jax.checkpoint(in_float32, policy=policy)(x, scale, shift)


def scale_and_shift(
    x: Float[Array, "b n c"],
    scale: Float[Array, "b c"],
    shift: Float[Array, "b c"],
    silu: bool,
) -> Float[Array, "b n c"]:
    """`normalise` without statistics: x -> silu(scale x + shift).

    Args:
      x: images of n pixels.
      scale: a factor for each image and channel.
      shift: a summand for each image and channel.
      silu: whether SiLU is applied.

    Returns:
      The images in float32; everything is computed in float32.
    """

    @jax.checkpoint
    def in_float32(x: Array, scale: Array, shift: Array) -> Array:
        factor, summand = (pixel_broadcast(a, x.shape[1]) for a in (scale, shift))
        out = x.astype(jnp.float32) * factor + summand
        return jax.nn.silu(out) if silu else out

    return in_float32(x, scale, shift)


class _Form(NamedTuple):
    """The static options of `normalise`."""

    silu: bool
    groups: int
    epsilon: float


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _normalise(form: _Form, x: Array, scale: Array, shift: Array) -> Array:
    return _evaluated(form, x, scale, shift)[0]


def _evaluated(form: _Form, x: Array, scale: Array, shift: Array) -> tuple[Array, ...]:
    """The output, and the arrays that its derivative needs."""
    pixels = x.shape[1]
    per_group = partial(_per_group, groups=form.groups)
    mean = checkpoint_name(per_group(_mean(x)), _KEPT)
    centred = x - pixel_broadcast(mean, pixels)
    variance = checkpoint_name(per_group(_mean(jnp.square(centred))), _KEPT)
    inverse = jax.lax.rsqrt(variance + form.epsilon)
    factor = pixel_broadcast(inverse * scale, pixels)
    before = centred * factor + pixel_broadcast(shift, pixels)
    out = before * jax.nn.sigmoid(before) if form.silu else before
    return out, centred, inverse, factor, before


@partial(_normalise.defjvp, symbolic_zeros=True)
def _tangent(
    form: _Form, primals: tuple[Array, ...], tangents: tuple
) -> tuple[Array, Array]:
    x, scale, shift = primals
    out, centred, inverse, factor, before = _evaluated(form, x, scale, shift)
    by_x, by_scale, by_shift = (
        None if isinstance(t, jax.custom_derivatives.SymbolicZero) else t
        for t in tangents
    )
    pixels = centred.shape[1]
    tangent = jnp.zeros_like(out)
    if by_x is not None:
        mean = _per_group(_mean(by_x), form.groups)
        along = inverse**2 * _per_group(_mean(by_x * centred), form.groups)
        inner = by_x + pixel_broadcast(-mean, pixels)
        tangent += factor * (inner + centred * pixel_broadcast(-along, pixels))
    if by_scale is not None:
        tangent += centred * pixel_broadcast(inverse * by_scale, pixels)
    if by_shift is not None:
        tangent += pixel_broadcast(by_shift, pixels)
    if form.silu:
        sigmoid = jax.nn.sigmoid(before)
        tangent *= sigmoid * (1 + before * (1 - sigmoid))
    return out, tangent


def _mean(x: Float[Array, "b n c"]) -> Float[Array, "b c"]:
    """The mean over pixels."""
    return pixel_sum(x) * (1 / x.shape[1])


def _per_group(values: Float[Array, "b c"], groups: int) -> Float[Array, "b c"]:
    """The mean over the channels of each group, repeated for each channel."""
    batch, channels = values.shape
    size = channels // groups
    if size == 1:
        return values
    # As products with a matrix of memberships, compiling a UNet takes an eighth longer.
    mean = values.reshape(batch, groups, size).mean(-1, keepdims=True)
    return jnp.broadcast_to(mean, (batch, groups, size)).reshape(batch, channels)


_pixel_sum, _pixel_broadcast = Primitive("pixel_sum"), Primitive("pixel_broadcast")


def pixel_sum(x: Float[Array, "b n c"]) -> Float[Array, "b c"]:
    """The sum over pixels; the transpose of `pixel_broadcast`."""
    return _pixel_sum.bind(x)


def pixel_broadcast(values: Float[Array, "b c"], pixels: int) -> Float[Array, "b n c"]:
    """The same values at each pixel; the transpose of `pixel_sum`."""
    return _pixel_broadcast.bind(values, pixels=pixels)


def _product(x: Array) -> Array:
    ones = jnp.ones((x.shape[0], 1, x.shape[1]), x.dtype)
    return jax.lax.dot_general(ones, x, (((2,), (1,)), ((0,), (0,))))[:, 0]


def _broadcast(values: Array, pixels: int) -> Array:
    batch, channels = values.shape
    return jnp.broadcast_to(values[:, None], (batch, pixels, channels))


def _finished_broadcast(values: Array, pixels: int) -> Array:
    return _broadcast(jax.lax.optimization_barrier(values), pixels)


def _define(
    primitive: Primitive,
    shape: Callable[..., tuple[int, ...]],
    transpose: Callable[..., list[Array]],
    lower: Callable[..., Array],
    lower_on_cpu: Callable[..., Array],
) -> None:
    """Define the rules of a primitive that is linear and treats images alike."""

    def batched(arguments: tuple, axes: tuple, **how: int) -> tuple[Array, int]:
        x = jnp.moveaxis(arguments[0], axes[0], 0)
        out = primitive.bind(x.reshape(-1, *x.shape[2:]), **how)
        return out.reshape(*x.shape[:2], *out.shape[1:]), 0

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="pixels"))
    primitive.def_abstract_eval(lambda x, **how: x.update(shape=shape(*x.shape, **how)))
    ad.deflinear2(primitive, transpose)
    batching.primitive_batchers[primitive] = batched
    for fun, platform in ((lower, None), (lower_on_cpu, "cpu")):
        rule = mlir.lower_fun(fun, multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)


_define(
    _pixel_sum,
    lambda b, n, c: (b, c),
    lambda cotangent, x: [pixel_broadcast(cotangent, x.aval.shape[1])],
    partial(jnp.sum, axis=1),
    _product,
)
_define(
    _pixel_broadcast,
    lambda b, c, pixels: (b, pixels, c),
    lambda cotangent, values, pixels: [pixel_sum(cotangent)],
    _broadcast,
    _finished_broadcast,
)
