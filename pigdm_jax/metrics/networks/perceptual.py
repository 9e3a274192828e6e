"""LPIPS: distances between the features of an image and its reference.

Reference: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric; version 0.1 of its public weights.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.metrics.networks.base import (
    Layer,
    NetworkSource,
    Tensors,
    parameters,
)
from pigdm_jax.metrics.networks.layers import conv, max_pool

# Mean and standard deviation of the colours of ImageNet, for images in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
TINY = 1e-10


class AlexNet(nn.Module):
    """The five maps of features of AlexNet; layers have torchvision's numbers."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The values of every convolution."""
        first = nn.relu(conv(64, 11, "0", stride=4, padding=2)(x))
        second = nn.relu(conv(192, 5, "3", padding=2)(max_pool(first, 3, 2)))
        third = nn.relu(conv(384, 3, "6", padding=1)(max_pool(second, 3, 2)))
        fourth = nn.relu(conv(256, 3, "8", padding=1)(third))
        fifth = nn.relu(conv(256, 3, "10", padding=1)(fourth))
        return first, second, third, fourth, fifth


class VGG16(nn.Module):
    """Five maps of features of VGG16, before each pool and at the end."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """The values of the last convolution of each size."""
        maps: list[Any] = []
        number = 0
        for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            if maps:
                x = max_pool(x, 2, 2)
            for _ in range(count):
                x = nn.relu(conv(channels, 3, str(number), padding=1)(x))
                number += 2  # a ReLU is a layer, too
            maps.append(x)
            number += 1  # as is a pool
        return tuple(maps)


@pytree_class
class Perceptual:
    """A network and the weights of its features.

    Attributes:
      params: parameters of the network.
      heads: the weight of every channel of each map, not negative.
      network: the module.
    """

    params: Any
    heads: Any
    network: nn.Module = static_field(default=AlexNet())

    def __call__(self, image: Image, reference: Image) -> Scalar:
        """The distance of an image from its reference, both in [-1, 1]."""
        both = jnp.clip(jnp.stack([image, reference]), -1, 1)
        scaled = (both - jnp.array(SHIFT)) / jnp.array(SCALE)
        maps = self.network.apply({"params": self.params}, scaled)
        distance = jnp.zeros(())
        for values, head in zip(maps, self.heads, strict=True):
            norms = jnp.sqrt(jnp.sum(values**2, axis=-1, keepdims=True))
            ours, theirs = values / (norms + TINY)
            distance += jnp.mean(jnp.sum(head * (ours - theirs) ** 2, axis=-1))
        return distance


def build_alex(files: Sequence[Tensors]) -> Perceptual:
    """LPIPS from the tensors of torchvision's AlexNet and of LPIPS's heads."""
    return _build(AlexNet(), files)


def build_vgg(files: Sequence[Tensors]) -> Perceptual:
    """LPIPS from the tensors of torchvision's VGG16 and of LPIPS's heads."""
    return _build(VGG16(), files)


def _build(network: nn.Module, files: Sequence[Tensors]) -> Perceptual:
    backbone, linear = files
    params = parameters(network, (1, 64, 64, 3), backbone, _layer)
    names = [f"lin{i}.model.1.weight" for i in range(5)]
    missing = [name for name in names if name not in linear]
    if missing:
        raise ValueError(f"there is no tensor {missing[0]}")
    heads = [jnp.asarray(linear[name], jnp.float32).ravel() for name in names]
    return Perceptual(params, heads, network)


def _layer(name: str) -> Layer:
    return Layer(f"features.{name}")


LPIPS_ALEX = NetworkSource("lpips-alex", build_alex)
LPIPS_VGG = NetworkSource("lpips-vgg", build_vgg)
