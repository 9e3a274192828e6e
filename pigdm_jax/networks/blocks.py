"""Layers that several architectures use: norms, convolutions, resampling.

Changes for a particular accelerator belong here.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.networks.kernels.convolution import convolve
from pigdm_jax.networks.kernels.normalisation import normalise


class Norm(nn.Module):
    """Group norm as in ADM: 32 groups, epsilon 1e-5, computed in float32.

    Attributes:
      silu: whether SiLU is applied to the result.
    """

    silu: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *n c"],
        film: tuple[Float[Array, "b c"], Float[Array, "b c"]] | None = None,
    ) -> Float[Array, "b *n c"]:
        """The normalised input; `film` scales it by 1 + film[0] and adds film[1]."""
        batch, *_, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,))
        shift = self.param("bias", nn.initializers.zeros, (channels,))
        scale, shift = (
            jnp.broadcast_to(a.astype(jnp.float32), (batch, channels))
            for a in (scale, shift)
        )
        if film is not None:
            by, to = film
            scale, shift = scale * (1 + by), shift * (1 + by) + to
        flat = x.reshape(batch, -1, channels)
        return normalise(flat, scale, shift, self.silu).reshape(x.shape)


def conv(channels: int, size: int, dtype: Any, name: str) -> nn.Conv:
    """A convolution with size x size taps that keeps the image's size."""
    return nn.Conv(
        channels,
        (size, size),
        padding=size // 2,
        dtype=dtype,
        name=name,
        conv_general_dilated=_convolve,
    )


def _convolve(
    x: Array, kernel: Array, strides: Any, padding: Any, **kwargs: Any
) -> Array:
    """`convolve` with the signature that `nn.Conv` expects; it uses the defaults."""
    del strides, padding, kwargs
    return convolve(x, kernel)


def timestep_embedding(t: Float[Array, " b"], width: int) -> Float[Array, "b width"]:
    """Cosines and sines of t at `width // 2` frequencies from 1 to 1e-4."""
    half = width // 2
    frequencies = jnp.exp(-math.log(10000) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = t.astype(jnp.float32)[:, None] * frequencies
    embedding = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    return jnp.pad(embedding, ((0, 0), (0, width % 2)))


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Average pooling over 2 x 2 pixels."""
    return nn.avg_pool(x, (2, 2), (2, 2))


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Each pixel repeated 2 x 2 times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


@jax.custom_jvp
def joined(
    x: Float[Array, "b h w c"], skip: Float[Array, "b h w c2"]
) -> Float[Array, "b h w c+c2"]:
    """The concatenated channels of both."""
    return jnp.concatenate([x, skip], axis=-1)


@joined.defjvp
def _joined_tangent(primals: Sequence[Array], tangents: Sequence[Array]) -> Any:
    # In the backward pass the skip's cotangent is used much later. Without this barrier
    # XLA keeps every term of its sum alive, eight times as much memory.
    return joined(*primals), joined(*jax.lax.optimization_barrier(tangents))
