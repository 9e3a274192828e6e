"""Image restoration with any pretrained diffusion model, by PiGDM, in JAX.

Three nouns and a verb: a `Prior` predicts the noise in a noisy image, a `Problem` is
what was measured and how, a `Sampler` is a way to sample an image that fits both, and
`restore` does so.
"""

from pigdm_jax import guidance, operators, samplers
from pigdm_jax.core.compilation import compiler_options
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.devices.batches import restore_batch
from pigdm_jax.devices.meshes import make_mesh, place_prior
from pigdm_jax.guidance import Guidance, Guided
from pigdm_jax.metrics.fidelity import psnr, ssim
from pigdm_jax.networks import UNet, UNetConfig
from pigdm_jax.operators.base import Operator
from pigdm_jax.pictures.files import read_image, write_picture
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.conversions import from_denoiser, from_eps, from_velocity
from pigdm_jax.priors.mixture import gaussian_prior, mixture_prior
from pigdm_jax.priors.network import network_prior
from pigdm_jax.priors.posterior import exact_posterior
from pigdm_jax.priors.schedule import Schedule, Step
from pigdm_jax.priors.tiling import tiled
from pigdm_jax.problem import (
    Needs,
    Problem,
    measure,
    measurement_residual,
)
from pigdm_jax.restoration import restore
from pigdm_jax.samplers import Info, Sampler, Stepwise, Trace
from pigdm_jax.weights.store import load_prior, save_prior, shipped_priors

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
    "network_prior",
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
    "write_picture",
]
