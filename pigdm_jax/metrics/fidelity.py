"""How close a restoration is to the original."""

import dm_pix
import jax.numpy as jnp

from pigdm_jax.core.types import Image, Scalar


def psnr(image: Image, reference: Image) -> Scalar:
    """Peak signal-to-noise ratio in dB of two images in [-1, 1], clipped to it."""
    return dm_pix.psnr(_unit(image), _unit(reference))


def ssim(image: Image, reference: Image) -> Scalar:
    """Structural similarity of two images in [-1, 1], at most 1.

    Gaussian window of 11 pixels and standard deviation 1.5, mean over channels and
    window positions inside the image (Wang et al. 2004).
    """
    return dm_pix.ssim(_unit(image), _unit(reference))


def _unit(image: Image) -> Image:
    return jnp.clip((jnp.asarray(image) + 1) / 2, 0, 1)
