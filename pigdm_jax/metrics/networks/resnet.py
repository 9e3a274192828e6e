"""ResNet-50, a classifier of ImageNet's 1000 classes.

Reference: He et al. 2016, Deep Residual Learning for Image Recognition, with
torchvision's weights (IMAGENET1K_V1) and its strides in the 3 x 3 convolutions.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image
from pigdm_jax.metrics.networks.base import (
    FeatureNetwork,
    Layer,
    NetworkSource,
    Tensors,
    parameters,
)
from pigdm_jax.metrics.networks.layers import conv, max_pool, resize

SHORT_SIDE, CROP = 256, 224
# Mean and standard deviation of the colours of ImageNet, in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CLASSES = 1000


class Bottleneck(nn.Module):
    """Three convolutions beside a skip connection.

    Attributes:
      channels: of the convolutions in the middle; the output has four times as many.
      stride: pixels between two windows.
    """

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """The block's output."""
        h = nn.relu(conv(self.channels, 1, "conv1")(x))
        middle = conv(self.channels, 3, "conv2", stride=self.stride, padding=1)
        h = conv(4 * self.channels, 1, "conv3")(nn.relu(middle(h)))
        if x.shape != h.shape:
            x = conv(4 * self.channels, 1, "downsample.0", stride=self.stride)(x)
        return nn.relu(h + x)


class ResNet50(nn.Module):
    """Normalised images to the logits of the classes."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b 1000"]:
        """The logits."""
        x = nn.relu(conv(64, 7, "conv1", stride=2, padding=3)(x))
        x = max_pool(x, 3, 2, 1)
        for i, count in enumerate((3, 4, 6, 3)):
            for j in range(count):
                stride = 2 if i and not j else 1
                x = Bottleneck(64 * 2**i, stride, name=f"layer{i + 1}.{j}")(x)
        return nn.Dense(CLASSES, name="fc")(jnp.mean(x, axis=(1, 2)))


@pytree_class
class Classifier(FeatureNetwork):
    """The logits of ResNet-50, with torchvision's preprocessing.

    Attributes:
      params: parameters of `ResNet50`.
    """

    params: Any

    def prepare(self, image: Image) -> Float[Array, "224 224 3"]:
        """The middle 224 x 224 pixels, normalised, of a short side of 256 pixels."""
        height, width, _ = image.shape
        short = min(height, width)
        size = [SHORT_SIDE * side // short for side in (height, width)]
        pixels = resize((jnp.clip(image, -1, 1) + 1) / 2, size, antialias=True)
        top, left = (round((side - CROP) / 2) for side in size)
        cropped = pixels[top : top + CROP, left : left + CROP]
        return (cropped - jnp.array(MEAN)) / jnp.array(STD)

    def features(self, prepared: Float[Array, "h w 3"]) -> Float[Array, " 1000"]:
        """The logits."""
        return ResNet50().apply({"params": self.params}, prepared[None])[0]


def build(files: Sequence[Tensors]) -> Classifier:
    """The classifier from torchvision's tensors."""
    (tensors,) = files
    return Classifier(parameters(ResNet50(), (1, 64, 64, 3), tensors, _layer))


def _layer(name: str) -> Layer:
    if name == "fc":
        return Layer(name)
    if name.endswith("downsample.0"):
        return Layer(name, f"{name[:-1]}1")
    return Layer(name, name.replace("conv", "bn"))


RESNET50 = NetworkSource("resnet50", build)
