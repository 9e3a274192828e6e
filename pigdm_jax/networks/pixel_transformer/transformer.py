"""JiT, a transformer on patches of pixels (Li and He 2025), in flax.linen.

As in `networks/adm`, layers have the names of the public PyTorch checkpoints, with
underscores before numbers.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import ImageShape
from pigdm_jax.networks.base import Network
from pigdm_jax.networks.pixel_transformer.layers import (
    Block,
    FinalLayer,
    LabelEmbedding,
    PatchEmbedding,
    TimeEmbedding,
)
from pigdm_jax.networks.pixel_transformer.positions import (
    rotation,
    sines_and_cosines,
)


@dataclasses.dataclass(frozen=True)
class PixelTransformerConfig:
    """The configuration of JiT, with the original's names where it has them.

    Attributes:
      image_size: side in pixels of its images, which is fixed.
      patch_size: side in pixels of a patch; divides `image_size`.
      hidden_size: width of the tokens, a multiple of 4.
      depth: number of blocks.
      num_heads: attention heads in each block; their width is a multiple of 4.
      mlp_size: hidden width of the blocks' MLP.
      bottleneck_dim: width to which a patch is projected first.
      num_classes: number of classes; there is one label more, which means no class. 0
        for a network that takes no label.
      in_channels: channels of an image.
      in_context_len: number of class tokens that join those of the patches.
      in_context_start: the block that they join before.
      noise_scale: standard deviation of the noise in training, where z = t x +
        (1 - t) noise_scale e; 1 at 256 pixels and 2 at 512 in the public checkpoints.

    Examples:
      >>> import pigdm_jax as pj
      >>> config = pj.PixelTransformerConfig(
      ...     image_size=32,
      ...     patch_size=4,
      ...     hidden_size=64,
      ...     depth=4,
      ...     num_heads=4,
      ...     mlp_size=170,
      ...     bottleneck_dim=16,
      ...     num_classes=10,
      ... )
      >>> network = pj.PixelTransformer(config)
      >>> network.image_size, network.null_label
      (32, 10)
    """

    image_size: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    mlp_size: int
    bottleneck_dim: int
    num_classes: int
    in_channels: int = 3
    in_context_len: int = 32
    in_context_start: int = 0
    noise_scale: float = 1.0

    @property
    def patches(self) -> int:
        """Number of patches along an axis of the image."""
        return self.image_size // self.patch_size


class PixelTransformer(Network):
    """JiT: from noisy images, flow times and class labels to clean images.

    Attributes:
      config: a `PixelTransformerConfig`.
      dtype: type of matrix products; norms and softmax use float32.
      remat: whether blocks are recomputed in the backward pass instead of stored.
      attention: "xla" or "cudnn", None for what suits the device; see `attend`.

    Reference: Li and He 2025, "Back to basics: let denoising generative models
    denoise", arXiv:2511.13720.
    """

    config: PixelTransformerConfig
    dtype: Any = jnp.float32
    remat: bool = False
    attention: str | None = None

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image."""
        return self.config.in_channels

    @property
    def image_size(self) -> int:
        """Side in pixels of its images."""
        return self.config.image_size

    @property
    def multiple(self) -> int:
        """Height and width are multiples of this."""
        return self.config.patch_size

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None if it takes no label."""
        return self.config.num_classes or None

    @property
    def null_label(self) -> int | None:
        """The label that means no class; None if it takes no label."""
        return self.num_classes

    @property
    def constants(self) -> tuple[str, ...]:
        """The table of positions."""
        return ("pos_embed",)

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the attention map and its softmax."""
        del image_shape  # fixed
        tokens = self.config.patches**2 + self.config.in_context_len
        return 2 * 4 * self.config.num_heads * tokens**2

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        tau: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        image: None = None,
    ) -> Float[Array, "b h w c"]:
        """Predict the clean images.

        Args:
          x: (1 - tau) x0 + tau eps, with image_size x image_size pixels.
          tau: in [0, 1], 1 for pure noise; the paper's time is t = 1 - tau, if
            `config.noise_scale` is 1.
          label: class of each image; None for none.
          image: None; it takes no image besides x.

        Raises:
          ValueError: if the images are of another size.
        """
        cfg = self.config
        if x.shape[1:3] != (cfg.image_size, cfg.image_size):
            raise ValueError(
                f"this network takes images of {cfg.image_size} x {cfg.image_size} "
                f"pixels, got {x.shape[1]} x {x.shape[2]}; pigdm_jax.tiled makes a "
                "prior for larger ones"
            )
        if label is None:
            label = jnp.full(x.shape[0], cfg.num_classes)
        # The same image as training's mixture, t x0 + (1 - t) noise_scale eps.
        total = cfg.noise_scale * (1 - tau) + tau
        x = x * (cfg.noise_scale / total)[:, None, None, None]
        t = cfg.noise_scale * (1 - tau) / total

        width, patch, dtype = cfg.hidden_size, cfg.patch_size, self.dtype
        classes = LabelEmbedding(cfg.num_classes + 1, width, name="y_embedder")(label)
        times = TimeEmbedding(width, dtype, name="t_embedder")(t)
        condition = (times + classes).astype(dtype)
        embed = PatchEmbedding(
            patch, cfg.bottleneck_dim, width, dtype, name="x_embedder"
        )
        tokens = (embed(x) + self._positions()).astype(dtype)
        tokens = self._blocks(tokens, condition, classes)
        final = FinalLayer(patch, cfg.in_channels, dtype, name="final_layer")
        pixels = final(tokens, condition).astype(jnp.float32)
        # From patches to rows of pixels.
        side = cfg.patches
        pixels = pixels.reshape(-1, side, side, patch, patch, cfg.in_channels)
        return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)

    def _positions(self) -> Float[Array, "1 n width"]:
        """The checkpoint's table of positions, which is not trained."""
        cfg = self.config
        table = sines_and_cosines(cfg.patches, cfg.hidden_size)
        init: Any = lambda _: jnp.asarray(table)  # noqa: E731
        return jax.lax.stop_gradient(jnp.asarray(self.param("pos_embed", init)))

    def _blocks(
        self,
        tokens: Float[Array, "b n width"],
        condition: Float[Array, "b width"],
        classes: Float[Array, "b width"],
    ) -> Float[Array, "b n width"]:
        """All blocks; class tokens join before one of them and are dropped at last."""
        cfg = self.config
        width, extra = cfg.hidden_size, 0
        block = nn.remat(Block) if self.remat else Block
        for i in range(cfg.depth):
            if i == cfg.in_context_start and cfg.in_context_len:
                extra = cfg.in_context_len
                init = nn.initializers.normal(0.02)
                joining = self.param("in_context_posemb", init, (1, extra, width))
                joining = (joining + classes[:, None]).astype(self.dtype)
                tokens = jnp.concatenate([joining, tokens], axis=1)
            turn = rotation(cfg.patches, width // cfg.num_heads, extra)
            tokens = block(
                cfg.num_heads,
                cfg.mlp_size,
                self.dtype,
                self.attention,
                name=f"blocks_{i}",
            )(tokens, condition, turn)
        return tokens[:, extra:]
