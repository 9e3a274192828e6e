"""Image restoration with any pretrained diffusion model, by PiGDM, in JAX.

Three words: a *prior* predicts the noise in a noisy image, an *operator* is how the
measurement came about, `restore` samples an image that fits both.
"""

from pigdm_jax import operators
from pigdm_jax.checkpoint import load_prior, save_prior, shipped_priors
from pigdm_jax.compilation import compiler_options
from pigdm_jax.guidance import measurement_residual, project
from pigdm_jax.io import read_image, write_picture
from pigdm_jax.metrics import psnr, ssim
from pigdm_jax.parallel import make_mesh, place_prior, restore_batch
from pigdm_jax.posterior import exact_posterior
from pigdm_jax.prior import (
    Prior,
    from_denoiser,
    from_velocity,
    gaussian_prior,
    mixture_prior,
    unet_prior,
)
from pigdm_jax.restore import restore
from pigdm_jax.sampler import Trace
from pigdm_jax.schedule import Schedule
from pigdm_jax.tiled import tiled
from pigdm_jax.unet import UNet, UNetConfig

__all__ = [
    "Prior",
    "Schedule",
    "Trace",
    "UNet",
    "UNetConfig",
    "compiler_options",
    "exact_posterior",
    "from_denoiser",
    "from_velocity",
    "gaussian_prior",
    "load_prior",
    "make_mesh",
    "measurement_residual",
    "mixture_prior",
    "operators",
    "place_prior",
    "project",
    "psnr",
    "read_image",
    "restore",
    "restore_batch",
    "save_prior",
    "shipped_priors",
    "ssim",
    "tiled",
    "unet_prior",
    "write_picture",
]
