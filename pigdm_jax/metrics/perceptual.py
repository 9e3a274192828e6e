"""LPIPS, a distance between images by the features of a network."""

from typing import Any

from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.metrics.base import ImageMetric


def lpips(network: Any, image: Image, reference: Image) -> Scalar:
    """LPIPS, version 0.1 (Zhang et al. 2018); 0 for equal images.

    Args:
      network: a `Perceptual` network.
      image: (height, width, 3) in [-1, 1], sides of 32 pixels or more.
      reference: of the same shape.
    """
    return network(image, reference)


LPIPS_ALEX = ImageMetric(
    *("lpips", "LPIPS", "lower"), network="lpips_alex", smallest=32, function=lpips
)
LPIPS_VGG = ImageMetric(
    *("lpips_vgg", "LPIPS (VGG)", "lower"),
    network="lpips_vgg",
    smallest=32,
    function=lpips,
)
