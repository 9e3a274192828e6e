"""Metrics of one image against its reference."""

from typing import Any

import dm_pix
import jax.numpy as jnp

from pigdm_jax.core.arrays import check_image
from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.metrics.base import ImageMetric


def psnr(image: Image, reference: Image) -> Scalar:
    """Peak signal-to-noise ratio in dB, over pixels clipped to [-1, 1].

    Args:
      image: (height, width, channels) in [-1, 1].
      reference: of the same shape.

    Raises:
      ValueError: if the shapes differ, or an image is not finite or has 8-bit pixels.

    Examples:
      >>> import jax.numpy as jnp
      >>> round(float(psnr(jnp.full((8, 8, 3), 0.2), jnp.zeros((8, 8, 3)))), 2)
      20.0
    """
    _check_pair(image, reference)
    return _psnr(image, reference)


def ssim(image: Image, reference: Image) -> Scalar:
    """Structural similarity, at most 1, over pixels clipped to [-1, 1].

    Gaussian window of 11 pixels and standard deviation 1.5, mean over channels and
    window positions inside the image (Wang et al. 2004).

    Args:
      image: (height, width, channels) in [-1, 1], sides of 11 pixels or more.
      reference: of the same shape.

    Raises:
      ValueError: if the shapes differ, or an image is not finite or has 8-bit pixels.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(ssim(jnp.zeros((16, 16, 3)), jnp.zeros((16, 16, 3))))
      1.0
    """
    _check_pair(image, reference)
    return _ssim(image, reference)


def _check_pair(image: Any, reference: Any) -> None:
    """Check two images of one shape."""
    check_image("image", image)
    check_image("reference", reference, jnp.shape(image))


@typed_jit
def _psnr(image: Image, reference: Image) -> Scalar:
    return dm_pix.psnr(_unit(image), _unit(reference))


@typed_jit
def _ssim(image: Image, reference: Image) -> Scalar:
    return dm_pix.ssim(_unit(image), _unit(reference))


def _unit(image: Image) -> Image:
    return jnp.clip((jnp.asarray(image) + 1) / 2, 0, 1)


PSNR = ImageMetric("psnr", "PSNR", "higher", unit="dB", digits=2, function=psnr)
SSIM = ImageMetric("ssim", "SSIM", "higher", smallest=11, function=ssim)
