"""The ADM UNet (Dhariwal and Nichol 2021) in flax.linen, and its configuration.

Layers have the names of the public PyTorch checkpoints, with underscores before numbers
(`input_blocks.4.1.qkv` is `input_blocks_4_1` / `qkv`), so that weights are converted by
a rule instead of a table.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
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
class UNetConfig:
    """The configuration of the ADM UNet, with the original's names and meanings.

    Attributes:
      model_channels: base width; level l has channel_mult[l] times as many channels.
      channel_mult: width of each level; each level but the last halves the image.
      num_res_blocks: residual blocks in each level on the way down.
      attention_resolutions: downsampling factors (1, 2, 4, ...) that have attention.
      in_channels: 3; 6 for a super-resolution network, whose input is the noisy image
        and the enlarged low-resolution one.
      out_channels: 3, or 6 where the network also predicts a variance.
      image_size: side in pixels of its images; None for any size.
      num_classes: size of the label embedding, or None.
      num_heads: number of attention heads, if num_head_channels is -1.
      num_head_channels: width of a head, or -1.
      num_heads_upsample: number of heads on the way up, or -1 for num_heads.
      use_scale_shift_norm: the embedding scales and shifts a norm (else it is added).
      resblock_updown: residual blocks change the resolution (else plain layers do).
      conv_resample: plain resampling layers have a convolution.
      use_new_attention_order: split q, k, v before heads (else heads before q, k, v).
      group_norm: activations are normalised (else each channel is scaled and shifted
        alone, so that a pixel's prediction does not depend on the image's size).

    Examples:
      >>> import pigdm_jax as pj
      >>> config = pj.UNetConfig(
      ...     model_channels=32,
      ...     channel_mult=(1, 2),
      ...     num_res_blocks=1,
      ...     attention_resolutions=(2,),
      ... )
      >>> config.multiple, pj.UNet(config).image_channels
      (2, 3)
    """

    model_channels: int
    channel_mult: Sequence[float]
    num_res_blocks: int
    attention_resolutions: Sequence[int]
    in_channels: int = 3
    out_channels: int = 3
    image_size: int | None = None
    num_classes: int | None = None
    num_heads: int = 1
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_scale_shift_norm: bool = True
    resblock_updown: bool = True
    conv_resample: bool = True
    use_new_attention_order: bool = False
    group_norm: bool = True

    def __post_init__(self) -> None:
        for name in ("channel_mult", "attention_resolutions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def groups(self) -> int | None:
        """Number of groups of the norms; None if they do not normalise."""
        return 32 if self.group_norm else None

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image, without a super-resolution input."""
        return 3 if self.in_channels == 6 else self.in_channels


class AttentionBlock(nn.Module):
    """Self-attention over all pixels, added to its input."""

    num_heads: int
    new_order: bool
    dtype: Any
    groups: int | None = 32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The input with attention added."""
        b, height, width, c = x.shape
        tokens = x.reshape(b, height * width, c)
        normed = Norm(groups=self.groups, name="norm")(tokens).astype(self.dtype)
        qkv = nn.Dense(3 * c, dtype=self.dtype, name="qkv")(normed)
        heads = self.num_heads
        if self.new_order:
            qkv = qkv.reshape(b, height * width, 3, heads, c // heads)
            q, k, v = jnp.moveaxis(qkv, 2, 0)
        else:
            qkv = qkv.reshape(b, height * width, heads, 3, c // heads)
            q, k, v = jnp.moveaxis(qkv, 3, 0)
        out = attend(q, k, v).reshape(tokens.shape)
        out = nn.Dense(c, dtype=self.dtype, name="proj_out")(out)
        return (tokens + out).reshape(x.shape)


# Names of a residual block's layers.
RES = ResNames(
    norm1="in_layers_0",
    conv1="in_layers_2",
    embedding="emb_layers_1",
    norm2="out_layers_0",
    conv2="out_layers_3",
    skip="skip_connection",
)


class UNet(Network):
    """The ADM UNet: from noisy images and timesteps to eps (and a learned variance).

    Attributes:
      config: a `UNetConfig`.
      dtype: type of convolutions and matrix products; norms and softmax use float32.
      remat: whether blocks are recomputed in the backward pass instead of stored.

    Reference: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis",
    NeurIPS 2021.
    """

    config: UNetConfig
    dtype: Any = jnp.float32
    remat: bool = False

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image."""
        return self.config.image_channels

    @property
    def image_size(self) -> int | None:
        """Side in pixels of its images; None for any size."""
        return self.config.image_size

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.config.multiple

    @property
    def num_classes(self) -> int | None:
        """Size of the label embedding, or None."""
        return self.config.num_classes

    @property
    def takes_image(self) -> bool:
        """Whether it takes a low-resolution image (super-resolution)."""
        return self.config.in_channels != self.config.image_channels

    @property
    def zero_layers(self) -> tuple[str, ...]:
        """The last layers of residual branches, and of the network."""
        return RES.conv2, "proj_out", "out_2"

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the largest attention map and its softmax."""
        config = self.config
        deepest = 2 ** (len(config.channel_mult) - 1)
        sizes = []
        for level, mult in enumerate(config.channel_mult):
            factor = 2**level
            if factor in (*config.attention_resolutions, deepest):
                heads = config.num_heads
                if config.num_head_channels != -1:
                    channels = int(mult * config.model_channels)
                    heads = channels // config.num_head_channels
                pixels = (image_shape[0] // factor) * (image_shape[1] // factor)
                sizes.append(heads * pixels**2)
        return 2 * 4 * max(sizes)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        low_res: Float[Array, "b lh lw lc"] | None = None,
    ) -> Float[Array, "b h w out"]:
        """Predict the noise.

        Args:
          x: noisy images; height and width multiples of `config.multiple`.
          t: network steps, 0 .. T - 1, fractions allowed.
          label: class of each image, if and only if the network has classes.
          low_res: for a super-resolution network, the low-resolution images in
            [-1, 1], of any size.
        """
        cfg = self.config
        emb = self._embedding(t, label)
        if low_res is not None:
            size = (*x.shape[:3], low_res.shape[-1])
            x = jnp.concatenate([x, jax.image.resize(low_res, size, "linear")], -1)

        h = x.astype(self.dtype)
        channels = int(cfg.channel_mult[0] * cfg.model_channels)
        h = conv(channels, 3, self.dtype, "input_blocks_0_0")(h)
        skips = [h]
        last = len(cfg.channel_mult) - 1

        for level, mult in enumerate(cfg.channel_mult):
            channels = int(mult * cfg.model_channels)
            for _ in range(cfg.num_res_blocks):
                block = f"input_blocks_{len(skips)}"
                h = self._res(channels, f"{block}_0")(h, emb)
                h = self._attend(h, 2**level, f"{block}_1")
                skips.append(h)
            if level != last:
                name = f"input_blocks_{len(skips)}_0"
                h = self._resample("down", channels, name)(h, emb)
                skips.append(h)

        h = self._res(channels, "middle_block_0")(h, emb)
        h = self._attention(channels, cfg.num_heads, "middle_block_1")(h)
        h = self._res(channels, "middle_block_2")(h, emb)

        index = 0
        for level, mult in reversed(list(enumerate(cfg.channel_mult))):
            channels = int(mult * cfg.model_channels)
            for i in range(cfg.num_res_blocks + 1):
                block = f"output_blocks_{index}"
                h = joined(h, skips.pop())
                h = self._res(channels, f"{block}_0")(h, emb)
                h = self._attend(h, 2**level, f"{block}_1", up=True)
                if level and i == cfg.num_res_blocks:
                    position = 2 if 2**level in cfg.attention_resolutions else 1
                    h = self._resample("up", channels, f"{block}_{position}")(h, emb)
                index += 1

        h = Norm(True, cfg.groups, name="out_0")(h)
        out = conv(cfg.out_channels, 3, self.dtype, "out_2")
        return out(h.astype(self.dtype)).astype(jnp.float32)

    def _embedding(
        self, t: Float[Array, " b"], label: Int[Array, " b"] | None
    ) -> Float[Array, "b e"]:
        cfg = self.config
        emb = timestep_embedding(t, cfg.model_channels)
        emb = nn.Dense(4 * cfg.model_channels, dtype=self.dtype, name="time_embed_0")(
            emb
        )
        emb = nn.Dense(4 * cfg.model_channels, dtype=self.dtype, name="time_embed_2")(
            nn.silu(emb)
        )
        if cfg.num_classes is not None:
            table = nn.Embed(cfg.num_classes, 4 * cfg.model_channels, name="label_emb")
            emb = emb + table(label).astype(emb.dtype)
        return emb

    def _res(self, channels: int, name: str, resample: str | None = None) -> ResBlock:
        block = nn.remat(ResBlock) if self.remat else ResBlock
        film = self.config.use_scale_shift_norm
        groups = self.config.groups
        return block(channels, self.dtype, film, resample, groups, names=RES, name=name)

    def _attention(self, channels: int, num_heads: int, name: str) -> AttentionBlock:
        cfg = self.config
        if cfg.num_head_channels != -1:
            num_heads = channels // cfg.num_head_channels
        block = nn.remat(AttentionBlock) if self.remat else AttentionBlock
        order = cfg.use_new_attention_order
        return block(num_heads, order, self.dtype, cfg.groups, name=name)

    def _attend(
        self, h: Float[Array, "b h w c"], factor: int, name: str, up: bool = False
    ) -> Float[Array, "b h w c"]:
        """Attention where this resolution has it, else the input."""
        cfg = self.config
        if factor not in cfg.attention_resolutions:
            return h
        heads = cfg.num_heads
        if up and cfg.num_heads_upsample != -1:
            heads = cfg.num_heads_upsample
        return self._attention(h.shape[-1], heads, name)(h)

    def _resample(self, way: str, channels: int, name: str) -> Any:
        """A block called with (h, emb) that halves ("down") or doubles ("up")."""
        if self.config.resblock_updown:
            return self._res(channels, name, way)
        layer = Downsample if way == "down" else Upsample
        plain = layer(channels, self.config.conv_resample, self.dtype, name=name)
        return lambda h, emb: plain(h)
