"""Layers of JiT: its blocks, and those around them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pigdm_jax.networks.blocks import attend, timestep_embedding
from pigdm_jax.networks.kernels.product import multiply
from pigdm_jax.networks.pixel_transformer.positions import Rotation, rotate

TIME_WIDTH = 256  # channels of the sines and cosines of the flow's time


class Attention(nn.Module):
    """Self-attention with normalised, rotated queries and keys.

    Attributes:
      num_heads: number of heads.
      dtype: type of matrix products.
      implementation: see `attend`.
    """

    num_heads: int
    dtype: Any
    implementation: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], turn: Rotation
    ) -> Float[Array, "b n c"]:
        """What the tokens take from each other."""
        b, n, c = x.shape
        qkv = _dense(3 * c, self.dtype, "qkv")(x)
        qkv = qkv.reshape(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = (qkv[:, :, i] for i in range(3))
        q = rotate(_rms_norm("q_norm")(q), turn).astype(self.dtype)
        k = rotate(_rms_norm("k_norm")(k), turn).astype(self.dtype)
        # Few tokens: their weights take no more memory than the MLP's activations.
        out = attend(q, k, v, self.implementation, recompute=False).reshape(x.shape)
        return _dense(c, self.dtype, "proj")(out)


class GatedMLP(nn.Module):
    """SwiGLU: W3 (silu(W1 x) * W2 x), with W1 and W2 in one matrix.

    Reference: Shazeer 2020, "GLU variants improve transformer".
    """

    size: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """The MLP of each token."""
        both = _dense(2 * self.size, self.dtype, "w12")(x)
        gate, value = jnp.split(both, 2, axis=-1)
        return _dense(x.shape[-1], self.dtype, "w3")(nn.silu(gate) * value)


class Block(nn.Module):
    """Attention, then an MLP, each with an adaptive norm and a gate (adaLN)."""

    num_heads: int
    mlp_size: int
    dtype: Any
    implementation: str | None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        condition: Float[Array, "b c"],
        turn: Rotation,
    ) -> Float[Array, "b n c"]:
        """The block's output; `condition` embeds time and class."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = _modulation(
            condition, 6, self.dtype
        )
        h = _rms_norm("norm1")(x) * (1 + scale_1) + shift_1
        attention = Attention(
            self.num_heads, self.dtype, self.implementation, name="attn"
        )
        h = attention(h.astype(self.dtype), turn)
        x = (x + gate_1 * h).astype(self.dtype)
        h = _rms_norm("norm2")(x) * (1 + scale_2) + shift_2
        h = GatedMLP(self.mlp_size, self.dtype, name="mlp")(h.astype(self.dtype))
        return (x + gate_2 * h).astype(self.dtype)


class PatchEmbedding(nn.Module):
    """Patches as tokens, through a bottleneck."""

    patch: int
    bottleneck: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n width"]:
        """One token for each patch, row by row."""
        narrow = nn.Conv(
            self.bottleneck,
            (self.patch, self.patch),
            strides=self.patch,
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            name="proj1",
            conv_general_dilated=_project_patches,
        )
        x = narrow(x)
        x = x.reshape(x.shape[0], -1, self.bottleneck)
        return _dense(self.width, self.dtype, "proj2")(x)


class FinalLayer(nn.Module):
    """The pixels of each token's patch."""

    patch: int
    channels: int
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n width"], condition: Float[Array, "b width"]
    ) -> Float[Array, "b n pixels"]:
        """For each token its patch's pixels, row by row, each with its channels."""
        shift, scale = _modulation(condition, 2, self.dtype)
        x = _rms_norm("norm_final")(x) * (1 + scale) + shift
        size = self.patch**2 * self.channels
        zeros = nn.initializers.zeros
        linear = _dense(size, self.dtype, "linear", kernel_init=zeros)
        return linear(x.astype(self.dtype))


class TimeEmbedding(nn.Module):
    """An MLP of sines and cosines of the flow's time."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b width"]:
        """The embedding of t in [0, 1], 1 for clean images."""
        x = timestep_embedding(t, TIME_WIDTH)
        x = nn.silu(nn.Dense(self.width, dtype=self.dtype, name="mlp_0")(x))
        return nn.Dense(self.width, dtype=self.dtype, name="mlp_2")(x)


class LabelEmbedding(nn.Module):
    """A vector for each of `count` labels."""

    count: int
    width: int

    @nn.compact
    def __call__(self, label: Int[Array, " b"]) -> Float[Array, "b width"]:
        """The vectors of labels from 0 to count - 1."""
        return nn.Embed(self.count, self.width, name="embedding_table")(label)


def _project_patches(
    x: Array, kernel: Array, strides: Any, padding: Any, **kwargs: Any
) -> Array:
    """A convolution whose stride is its size, as a matrix product of patches."""
    del strides, padding, kwargs
    b, height, width, channels = x.shape
    patch = kernel.shape[0]
    x = x.reshape(b, height // patch, patch, width // patch, patch, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return jnp.einsum("bhwpqc,pqco->bhwo", x, kernel)


def _dense(features: int, dtype: Any, name: str, **options: Any) -> nn.Dense:
    """A layer whose input is differentiated."""
    return nn.Dense(features, dtype=dtype, dot_general=multiply, name=name, **options)


def _rms_norm(name: str) -> nn.RMSNorm:
    """Division by the root mean square over channels, in float32, and a scale."""
    return nn.RMSNorm(epsilon=1e-6, dtype=jnp.float32, name=name)


def _modulation(
    condition: Float[Array, "b c"], count: int, dtype: Any
) -> list[Float[Array, "b 1 c"]]:
    """Shifts, scales and gates of adaLN, in float32; for a module's compact method."""
    size = count * condition.shape[-1]
    # As in training's beginning, when each block is the identity.
    zeros = nn.initializers.zeros
    dense = nn.Dense(size, dtype=dtype, kernel_init=zeros, name="adaLN_modulation_1")
    parts = dense(nn.silu(condition)).astype(jnp.float32)
    return jnp.split(parts[:, None], count, axis=-1)
