"""The UNet of DDPM (Ho et al. 2020) in flax.linen, and its configuration.

Layers have the names of the original's PyTorch port, with underscores for dots
(`down.4.attn.1.q` is `down_4_attn_1` / `q`); `keys` has the other layouts.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import ImageShape
from pigdm_jax.networks.base import Network
from pigdm_jax.networks.blocks import (
    Downsample,
    Norm,
    ResBlock,
    ResNames,
    Upsample,
    attend,
    conv,
    joined,
    timestep_embedding,
)


@dataclasses.dataclass(frozen=True)
class DDPMConfig:
    """The configuration of the DDPM UNet, with diffusers' names where it has them.

    Attributes:
      block_out_channels: channels of each level; each level but the last halves the
        image.
      layers_per_block: residual blocks in each level on the way down.
      down_attention, up_attention: levels, from 0, with attention on the way down and
        up.
      in_channels: of the image.
      out_channels: as many, or twice as many where it also predicts a variance.
      image_size: side in pixels of its images; None for any size.
      num_classes: size of the label embedding, or None.
      attention_head_dim: width of an attention head, or None for one head.
      mid_attention: whether there is attention between the ways down and up.
      mid_norm_groups: groups of that attention's norm; 0 for no norm.
      norm_num_groups, norm_eps: of all other norms; norm_eps also of that one.
      scale_shift: the embedding scales and shifts a norm (else it is added).
      downsample_padding: 1 pads strided convolutions on all sides, 0 below and to the
        right alone.
      flip_sin_to_cos: the embedding of a step has cosines first.
      freq_shift: see `timestep_embedding`.
      clean_at_one: it is a flow whose t is 1 for a clean image and whose velocity
        points from noise to image, both the opposite of `network_prior`'s; the network
        converts them.

    Examples:
      >>> from pigdm_jax import DDPMConfig, DDPMUNet
      >>> config = DDPMConfig((32, 64), 1, down_attention=(1,), up_attention=(1,))
      >>> DDPMUNet(config).multiple
      2
    """

    block_out_channels: Sequence[int]
    layers_per_block: int
    down_attention: Sequence[int]
    up_attention: Sequence[int]
    in_channels: int = 3
    out_channels: int = 3
    image_size: int | None = None
    num_classes: int | None = None
    attention_head_dim: int | None = None
    mid_attention: bool = True
    mid_norm_groups: int = 32
    norm_num_groups: int = 32
    norm_eps: float = 1e-6
    scale_shift: bool = False
    downsample_padding: int = 0
    flip_sin_to_cos: bool = False
    freq_shift: int = 1
    clean_at_one: bool = False

    def __post_init__(self) -> None:
        for name in ("block_out_channels", "down_attention", "up_attention"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def heads(self, channels: int) -> int:
        """Number of attention heads of a layer with so many channels."""
        return channels // (self.attention_head_dim or channels)


class SpatialAttention(nn.Module):
    """Self-attention over all pixels, added to its input.

    Attributes:
      heads: number of heads.
      groups, epsilon: of the norm; 0 groups for none.
      dtype: of matrix products.
    """

    heads: int
    groups: int
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The input with attention added."""
        b, height, width, c = x.shape
        tokens = x.reshape(b, height * width, c)
        normed = tokens
        if self.groups:
            normed = Norm(False, self.groups, self.epsilon, name="norm")(tokens)
        normed = normed.astype(self.dtype)
        q, k, v = (
            nn.Dense(c, dtype=self.dtype, name=name)(normed).reshape(
                b, height * width, self.heads, c // self.heads
            )
            for name in ("q", "k", "v")
        )
        out = attend(q, k, v).reshape(tokens.shape)
        out = nn.Dense(c, dtype=self.dtype, name="proj_out")(out)
        return (tokens + out).reshape(x.shape)


class DDPMUNet(Network):
    """The UNet of DDPM: from noisy images and timesteps to eps, x0 or a velocity.

    Attributes:
      config: a `DDPMConfig`.
      dtype: type of convolutions and matrix products; norms and softmax use float32.
      remat: whether blocks are recomputed in the backward pass instead of stored.

    References: Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020.
    As a flow: Martin et al., "PnP-Flow", ICLR 2025.
    """

    config: DDPMConfig
    dtype: Any = jnp.float32
    remat: bool = False

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image."""
        return self.config.in_channels

    @property
    def image_size(self) -> int | None:
        """Side in pixels of its images; None for any size."""
        return self.config.image_size

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    @property
    def num_classes(self) -> int | None:
        """Size of the label embedding, or None."""
        return self.config.num_classes

    @property
    def zero_layers(self) -> tuple[str, ...]:
        """The last layers of residual branches, and of the network."""
        return ResNames().conv2, "proj_out", "conv_out"

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the largest attention map and its softmax."""
        config = self.config
        levels = {*config.down_attention, *config.up_attention}
        if config.mid_attention:
            levels.add(len(config.block_out_channels) - 1)
        sizes = [0]
        for level in levels:
            pixels = (image_shape[0] // 2**level) * (image_shape[1] // 2**level)
            sizes.append(config.heads(config.block_out_channels[level]) * pixels**2)
        return 2 * 4 * max(sizes)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        image: None = None,
    ) -> Float[Array, "b h w out"]:
        """Predict the noise, the clean image or a velocity.

        Args:
          x: noisy images; height and width multiples of `multiple`.
          t: network steps, 0 .. T - 1, fractions allowed; of a flow, in [0, 1].
          label: class of each image, if and only if the network has classes.
          image: it takes none.
        """
        cfg = self.config
        emb = self._embedding(1 - t if cfg.clean_at_one else t, label)
        channels, last = cfg.block_out_channels, len(cfg.block_out_channels) - 1
        h = conv(channels[0], 3, self.dtype, "conv_in")(x.astype(self.dtype))
        skips = [h]
        for level, width in enumerate(channels):
            for i in range(cfg.layers_per_block):
                h = self._res(width, f"down_{level}_block_{i}")(h, emb)
                if level in cfg.down_attention:
                    h = self._attention(width, f"down_{level}_attn_{i}")(h)
                skips.append(h)
            if level != last:
                h = self._down(width, f"down_{level}_downsample")(h)
                skips.append(h)

        h = self._res(channels[-1], "mid_block_1")(h, emb)
        if cfg.mid_attention:
            groups = cfg.mid_norm_groups
            h = self._attention(channels[-1], "mid_attn_1", groups)(h)
        h = self._res(channels[-1], "mid_block_2")(h, emb)

        for level, width in reversed(list(enumerate(channels))):
            for i in range(cfg.layers_per_block + 1):
                h = joined(h, skips.pop())
                h = self._res(width, f"up_{level}_block_{i}")(h, emb)
                if level in cfg.up_attention:
                    h = self._attention(width, f"up_{level}_attn_{i}")(h)
            if level:
                h = Upsample(width, True, self.dtype, name=f"up_{level}_upsample")(h)

        h = Norm(True, cfg.norm_num_groups, cfg.norm_eps, name="norm_out")(h)
        out = conv(cfg.out_channels, 3, self.dtype, "conv_out")(h.astype(self.dtype))
        out = out.astype(jnp.float32)
        return -out if cfg.clean_at_one else out

    def _embedding(
        self, t: Float[Array, " b"], label: Int[Array, " b"] | None
    ) -> Float[Array, "b e"]:
        cfg = self.config
        width = cfg.block_out_channels[0]
        emb = timestep_embedding(
            t, width, shift=cfg.freq_shift, sine_first=not cfg.flip_sin_to_cos
        )
        emb = nn.Dense(4 * width, dtype=self.dtype, name="temb_dense_0")(emb)
        emb = nn.Dense(4 * width, dtype=self.dtype, name="temb_dense_1")(nn.silu(emb))
        if cfg.num_classes is not None:
            table = nn.Embed(cfg.num_classes, 4 * width, name="label_emb")
            emb = emb + table(label).astype(emb.dtype)
        return emb

    def _res(self, channels: int, name: str) -> ResBlock:
        cfg = self.config
        return (nn.remat(ResBlock) if self.remat else ResBlock)(
            channels,
            self.dtype,
            cfg.scale_shift,
            groups=cfg.norm_num_groups,
            epsilon=cfg.norm_eps,
            name=name,
        )

    def _attention(
        self, channels: int, name: str, groups: int | None = None
    ) -> SpatialAttention:
        """Attention; `groups` of its norm if they are not those of all norms."""
        cfg = self.config
        return (nn.remat(SpatialAttention) if self.remat else SpatialAttention)(
            cfg.heads(channels),
            cfg.norm_num_groups if groups is None else groups,
            cfg.norm_eps,
            self.dtype,
            name=name,
        )

    def _down(self, channels: int, name: str) -> Downsample:
        centred = self.config.downsample_padding == 1
        return Downsample(channels, True, self.dtype, "conv", centred, name=name)
