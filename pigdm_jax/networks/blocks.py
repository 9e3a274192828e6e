"""Layers that several architectures use: norms, convolutions, attention, resampling.

Changes for a particular accelerator belong here.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.networks.kernels.convolution import convolve
from pigdm_jax.networks.kernels.normalisation import normalise, scale_and_shift

FLASH_WIDTH = 128  # of the widest heads that cuDNN's attention takes on every GPU


class Norm(nn.Module):
    """Group norm, or a scale and a shift of each channel alone, in float32.

    Attributes:
      silu: whether SiLU is applied to the result.
      groups: number of groups; None to scale and shift without normalising.
      epsilon: summand of each group's variance.
    """

    silu: bool = False
    groups: int | None = 32
    epsilon: float = 1e-5

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
        if self.groups is None:
            out = scale_and_shift(flat, scale, shift, self.silu)
        else:
            out = normalise(flat, scale, shift, self.silu, self.groups, self.epsilon)
        return out.reshape(x.shape)


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


def timestep_embedding(
    t: Float[Array, " b"], width: int, *, shift: int = 0, sine_first: bool = False
) -> Float[Array, "b width"]:
    """Cosines and sines of t at n = `width // 2` frequencies 10000^(-i / (n - shift)).

    Args:
      t: steps.
      width: of the embedding; a last odd value is 0.
      shift: 0 as in ADM, or 1 as in the DDPM, whose last frequency is 1e-4.
      sine_first: sines before cosines, as in the DDPM.
    """
    half = width // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / (half - shift)
    angles = t.astype(jnp.float32)[:, None] * jnp.exp(-math.log(10000) * exponents)
    waves = [jnp.cos(angles), jnp.sin(angles)]
    embedding = jnp.concatenate(waves[::-1] if sine_first else waves, axis=-1)
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


def attend(
    q: Float[Array, "b n heads c"],
    k: Float[Array, "b m heads c"],
    v: Float[Array, "b m heads c"],
    implementation: str | None = "xla",
    *,
    recompute: bool = True,
) -> Float[Array, "b n heads c"]:
    """Attention, softmax(q k^T / sqrt(c)) v for each head, with softmax in float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      implementation: "xla", which every device has and which can be differentiated any
        number of times; "cudnn", flash attention on NVIDIA GPUs, once; None for
        `best_attention`.
      recompute: compute the attention weights again in the backward pass, which is
        cheaper than storing them where there are many tokens. "cudnn" always does.
    """
    implementation = implementation or best_attention(q.dtype, *q.shape[1::2])
    attention: Any = partial(
        jax.nn.dot_product_attention, implementation=implementation
    )
    if recompute and implementation == "xla":
        attention = jax.checkpoint(attention)
    return attention(q, k, v)


def best_attention(dtype: Any, tokens: int, width: int, device: Any = None) -> str:
    """The implementation of attention for a device: "cudnn" where it is valid.

    On TPUs, and for float32, "xla" is the only one.

    Args:
      dtype: type of queries, keys and values.
      tokens: number of queries, which is that of keys.
      width: channels of a head.
      device: JAX's first by default.
    """
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    if not half or tokens % 2 or width % 8 or width > FLASH_WIDTH:
        return "xla"
    device = jax.devices()[0] if device is None else device
    cuda = device.platform == "gpu" and "cuda" in device.client.platform_version
    ampere = cuda and float(device.compute_capability) >= 8
    return "cudnn" if ampere else "xla"


class Downsample(nn.Module):
    """Halves the image, by a strided convolution or by average pooling.

    Attributes:
      channels: of the output; those of the input without a convolution.
      use_conv: whether it is a convolution.
      dtype: of the convolution.
      layer: the convolution's name in the parameters.
      centred: padded by one pixel on all sides, else below and to the right alone.
    """

    channels: int
    use_conv: bool
    dtype: Any
    layer: str = "op"
    centred: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """The halved image."""
        if not self.use_conv:
            return halve(x)
        return nn.Conv(
            self.channels,
            (3, 3),
            strides=2,
            padding=1 if self.centred else ((0, 1), (0, 1)),
            dtype=self.dtype,
            name=self.layer,
        )(x)


class Upsample(nn.Module):
    """Doubles the image by repeating pixels, then perhaps a convolution.

    Attributes:
      channels: of the output; those of the input without a convolution.
      use_conv: whether there is a convolution.
      dtype: of the convolution.
    """

    channels: int
    use_conv: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """The doubled image."""
        x = double(x)
        if not self.use_conv:
            return x
        return conv(self.channels, 3, self.dtype, "conv")(x)


class ResNames(NamedTuple):
    """Names of a residual block's layers in the parameters."""

    norm1: str = "norm1"
    conv1: str = "conv1"
    embedding: str = "temb_proj"
    norm2: str = "norm2"
    conv2: str = "conv2"
    skip: str = "nin_shortcut"


class ResBlock(nn.Module):
    """Two convolutions with the embedding between them, and a skip connection.

    Attributes:
      channels: of the output.
      dtype: of convolutions and matrix products.
      film: the embedding scales and shifts the second norm (else it is added).
      resample: "down" halves the image, "up" doubles it, None keeps its size.
      groups, epsilon: of the norms; see `Norm`.
      names: of its layers.
    """

    channels: int
    dtype: Any
    film: bool
    resample: str | None = None
    groups: int | None = 32
    epsilon: float = 1e-5
    names: ResNames = ResNames()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], emb: Float[Array, "b e"]
    ) -> Float[Array, "b h2 w2 c2"]:
        """The block's output; `emb` is the timestep's (and label's) embedding."""
        names = self.names
        h = self._norm(names.norm1)(x).astype(self.dtype)
        if self.resample is not None:
            change = halve if self.resample == "down" else double
            h, x = change(h), change(x)
        h = conv(self.channels, 3, self.dtype, names.conv1)(h)

        width = 2 * self.channels if self.film else self.channels
        emb = nn.Dense(width, dtype=self.dtype, name=names.embedding)(nn.silu(emb))
        emb = emb.astype(jnp.float32)
        norm = self._norm(names.norm2)
        if self.film:
            by, to = jnp.split(emb, 2, axis=-1)
            h = norm(h, (by, to))
        else:
            h = norm(h + emb[:, None, None, :])
        h = conv(self.channels, 3, self.dtype, names.conv2)(h.astype(self.dtype))

        if x.shape[-1] != self.channels:
            x = conv(self.channels, 1, self.dtype, names.skip)(x)
        return x + h

    def _norm(self, name: str) -> Norm:
        return Norm(True, self.groups, self.epsilon, name=name)
