"""Image restoration with any pretrained diffusion model, by PiGDM, in JAX.

Three nouns and a verb: a `Prior` predicts the noise in a noisy image, a `Problem` is
what was measured and how, a `Sampler` is a way to sample an image that fits both, and
`restore` does so.
"""

from pigdm_jax import guidance, operators, samplers
from pigdm_jax.checkpoint import load_prior, save_prior, shipped_priors
from pigdm_jax.compilation import compiler_options
from pigdm_jax.guidance import Guidance, Guided
from pigdm_jax.io import read_image, write_picture
from pigdm_jax.metrics import psnr, ssim
from pigdm_jax.operators.base import Operator
from pigdm_jax.parallel import make_mesh, place_prior, restore_batch
from pigdm_jax.posterior import exact_posterior
from pigdm_jax.prior import (
    Prior,
    from_denoiser,
    from_eps,
    from_velocity,
    gaussian_prior,
    mixture_prior,
    unet_prior,
)
from pigdm_jax.problem import (
    Needs,
    Problem,
    measure,
    measurement_residual,
)
from pigdm_jax.pytree import pytree_class, static_field
from pigdm_jax.restoration import restore
from pigdm_jax.samplers import Info, Sampler, Stepwise, Trace
from pigdm_jax.schedule import Schedule, Step
from pigdm_jax.tiled import tiled
from pigdm_jax.unet import UNet, UNetConfig

__all__ = [
    "Guidance",
    "Guided",
    "Info",
    "Needs",
    "Operator",
    "Prior",
    "Problem",
    "Sampler",
    "Schedule",
    "Step",
    "Stepwise",
    "Trace",
    "UNet",
    "UNetConfig",
    "compiler_options",
    "exact_posterior",
    "from_denoiser",
    "from_eps",
    "from_velocity",
    "gaussian_prior",
    "guidance",
    "load_prior",
    "make_mesh",
    "measure",
    "measurement_residual",
    "mixture_prior",
    "operators",
    "place_prior",
    "psnr",
    "pytree_class",
    "read_image",
    "restore",
    "restore_batch",
    "samplers",
    "save_prior",
    "shipped_priors",
    "ssim",
    "static_field",
    "tiled",
    "unet_prior",
    "write_picture",
]
