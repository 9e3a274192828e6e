"""The Inception-v3 of the Fréchet Inception Distance.

It has the weights and the structure of TensorFlow's network of 2015, which differ from
torchvision's: average pools leave out padding, and the last block pools by the maximum.

Reference: Szegedy et al. 2016, Rethinking the Inception Architecture for Computer
Vision; its public weights for PyTorch are those of pytorch-fid.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image
from pigdm_jax.metrics.networks.base import (
    FeatureNetwork,
    Layer,
    NetworkSource,
    Tensors,
    parameters,
)
from pigdm_jax.metrics.networks.layers import (
    conv,
    max_pool,
    mean_pool,
    resize,
)

SIDE = 299
EPSILON = 1e-3  # of its batch norms
# Rows and columns of kernels, with the padding that keeps the size.
ROW, COLUMN = ((1, 7), (0, 3)), ((7, 1), (3, 0))
SHORT_ROW, SHORT_COLUMN = ((1, 3), (0, 1)), ((3, 1), (1, 0))
POINT, SQUARE, LARGE = (1, 0), (3, 1), (5, 2)

Maps = Float[Array, "_ _ _ _"]
Pool = Callable[[Any], Any]


def step(
    x: Maps, name: str, channels: int, form: Sequence[Any], stride: int = 1
) -> Maps:
    """A convolution of the module that calls this, and a ReLU."""
    size, padding = form
    return nn.relu(conv(channels, size, name, stride=stride, padding=padding)(x))


def pool_branch(x: Maps, channels: int, pool: Pool = mean_pool) -> Maps:
    """A pool that keeps the size, and a convolution."""
    return step(pool(x), "branch_pool", channels, POINT)


def joined(*branches: Maps) -> Maps:
    """The channels of all branches."""
    return jnp.concatenate(branches, axis=-1)


class InceptionA(nn.Module):
    """Windows of 1, 3 and 5 pixels.

    Attributes:
      pooled: channels of the pool's branch.
    """

    pooled: int

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """The block's output."""
        large = step(x, "branch5x5_1", 48, POINT)
        large = step(large, "branch5x5_2", 64, LARGE)
        double = step(x, "branch3x3dbl_1", 64, POINT)
        double = step(double, "branch3x3dbl_2", 96, SQUARE)
        double = step(double, "branch3x3dbl_3", 96, SQUARE)
        point = step(x, "branch1x1", 64, POINT)
        return joined(point, large, double, pool_branch(x, self.pooled))


class InceptionB(nn.Module):
    """Halves the maps."""

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """The block's output."""
        square = step(x, "branch3x3", 384, (3, 0), 2)
        double = step(x, "branch3x3dbl_1", 64, POINT)
        double = step(double, "branch3x3dbl_2", 96, SQUARE)
        double = step(double, "branch3x3dbl_3", 96, (3, 0), 2)
        return joined(square, double, max_pool(x, 3, 2))


class InceptionC(nn.Module):
    """Rows and columns of 7 pixels.

    Attributes:
      inner: channels between them.
    """

    inner: int

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """The block's output."""
        single = step(x, "branch7x7_1", self.inner, POINT)
        single = step(single, "branch7x7_2", self.inner, ROW)
        single = step(single, "branch7x7_3", 192, COLUMN)
        double = step(x, "branch7x7dbl_1", self.inner, POINT)
        double = step(double, "branch7x7dbl_2", self.inner, COLUMN)
        double = step(double, "branch7x7dbl_3", self.inner, ROW)
        double = step(double, "branch7x7dbl_4", self.inner, COLUMN)
        double = step(double, "branch7x7dbl_5", 192, ROW)
        point = step(x, "branch1x1", 192, POINT)
        return joined(point, single, double, pool_branch(x, 192))


class InceptionD(nn.Module):
    """Halves the maps again."""

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """The block's output."""
        square = step(x, "branch3x3_1", 192, POINT)
        square = step(square, "branch3x3_2", 320, (3, 0), 2)
        lines = step(x, "branch7x7x3_1", 192, POINT)
        lines = step(lines, "branch7x7x3_2", 192, ROW)
        lines = step(lines, "branch7x7x3_3", 192, COLUMN)
        lines = step(lines, "branch7x7x3_4", 192, (3, 0), 2)
        return joined(square, lines, max_pool(x, 3, 2))


class InceptionE(nn.Module):
    """Rows and columns of 3 pixels beside each other.

    Attributes:
      pool: of the pool's branch.
    """

    pool: Pool

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """The block's output."""
        square = step(x, "branch3x3_1", 384, POINT)
        square = joined(
            step(square, "branch3x3_2a", 384, SHORT_ROW),
            step(square, "branch3x3_2b", 384, SHORT_COLUMN),
        )
        double = step(x, "branch3x3dbl_1", 448, POINT)
        double = step(double, "branch3x3dbl_2", 384, SQUARE)
        double = joined(
            step(double, "branch3x3dbl_3a", 384, SHORT_ROW),
            step(double, "branch3x3dbl_3b", 384, SHORT_COLUMN),
        )
        point = step(x, "branch1x1", 320, POINT)
        return joined(point, square, double, pool_branch(x, 192, self.pool))


def largest_of_nine(x: Maps) -> Maps:
    """The largest of the 3 x 3 pixels around each."""
    return max_pool(x, 3, 1, 1)


class InceptionV3(nn.Module):
    """Images in [-1, 1], of 299 x 299 pixels, to the 2048 features of its last pool."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        """The features."""
        x = step(x, "Conv2d_1a_3x3", 32, (3, 0), 2)
        x = step(x, "Conv2d_2a_3x3", 32, (3, 0))
        x = max_pool(step(x, "Conv2d_2b_3x3", 64, SQUARE), 3, 2)
        x = step(x, "Conv2d_3b_1x1", 80, POINT)
        x = max_pool(step(x, "Conv2d_4a_3x3", 192, (3, 0)), 3, 2)
        for name, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = InceptionA(pooled, name=f"Mixed_5{name}")(x)
        x = InceptionB(name="Mixed_6a")(x)
        for name, inner in zip("bcde", (128, 160, 160, 192), strict=True):
            x = InceptionC(inner, name=f"Mixed_6{name}")(x)
        x = InceptionD(name="Mixed_7a")(x)
        x = InceptionE(mean_pool, name="Mixed_7b")(x)
        x = InceptionE(largest_of_nine, name="Mixed_7c")(x)
        return jnp.mean(x, axis=(1, 2))


@pytree_class
class InceptionFeatures(FeatureNetwork):
    """The features of pytorch-fid: bilinear resizing to 299 pixels, then the network.

    Attributes:
      params: parameters of `InceptionV3`.
      side: of the network's input in pixels.
    """

    params: Any
    side: int = static_field(default=SIDE)

    def prepare(self, image: Image) -> Float[Array, "side side 3"]:
        """The image clipped and resized, without antialiasing, as pytorch-fid does."""
        clipped = jnp.clip(jnp.asarray(image), -1, 1)
        return resize(clipped, (self.side, self.side), antialias=False)

    def features(self, prepared: Float[Array, "side side 3"]) -> Float[Array, " n"]:
        """The network's features."""
        return InceptionV3().apply({"params": self.params}, prepared[None])[0]


def build(files: Sequence[Tensors]) -> InceptionFeatures:
    """The network from pytorch-fid's tensors; those of its last layer are not used."""
    (tensors,) = files
    shape = (1, 75, 75, 3)  # the smallest that it takes
    return InceptionFeatures(parameters(InceptionV3(), shape, tensors, _layer))


def _layer(name: str) -> Layer:
    return Layer(f"{name}.conv", f"{name}.bn", EPSILON)


INCEPTION = NetworkSource("inception-fid", build)
