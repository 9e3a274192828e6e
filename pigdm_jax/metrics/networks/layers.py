"""Layers that the networks of metrics share.

Batch norms are folded into the convolutions before them when weights are read, so there
are none here.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.networks import blocks

Sides = int | tuple[int, int]


def conv(
    channels: int,
    size: Sides,
    name: str,
    *,
    stride: int = 1,
    padding: Sides = 0,
) -> nn.Conv:
    """A convolution as PyTorch's, with a bias.

    Args:
      channels: of its output.
      size: number of taps, of both axes or of each.
      name: PyTorch's.
      stride: pixels between two windows.
      padding: zeros on both sides of both axes or of each.
    """
    keeps = isinstance(size, int) and size % 2 and (stride, padding) == (1, size // 2)
    if isinstance(size, int) and keeps:
        return blocks.conv(channels, size, jnp.float32, name)
    sizes = (size, size) if isinstance(size, int) else size
    pads = (padding, padding) if isinstance(padding, int) else padding
    return nn.Conv(
        channels, sizes, strides=stride, padding=[(p, p) for p in pads], name=name
    )


def max_pool(
    x: Float[Array, "b h w c"], size: int, stride: int, padding: int = 0
) -> Float[Array, "b h2 w2 c"]:
    """The largest value of each window."""
    pads = ((padding, padding),) * 2
    return nn.max_pool(x, (size, size), (stride, stride), pads)


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The mean of the pixels of each window of 3 x 3 that are inside the image."""
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def resize(
    image: Float[Array, "h w c"], size: Sequence[int], *, antialias: bool
) -> Float[Array, "h2 w2 c"]:
    """Bilinear resizing, as PyTorch's `interpolate` with `align_corners=False`."""
    shape = (*size, image.shape[-1])
    return jax.image.resize(image, shape, "linear", antialias=antialias)
