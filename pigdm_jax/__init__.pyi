# The public names. Each is imported on first use, by `lazy_loader`.

from . import guidance, metrics, operators, samplers
from .core.compilation import compiler_options
from .core.pytree import pytree_class, static_field
from .devices.batches import restore_batch
from .devices.meshes import make_mesh, place_prior
from .guidance import Guidance, Guided
from .metrics.fidelity import psnr, ssim
from .networks import (
    DDPMConfig,
    DDPMUNet,
    PixelTransformer,
    PixelTransformerConfig,
    UNet,
    UNetConfig,
)
from .operators.base import Operator
from .pictures.reading import read_image
from .pictures.writing import write_picture
from .priors.base import Prior
from .priors.classifier_free import classifier_free
from .priors.conversions import from_denoiser, from_eps, from_velocity
from .priors.mixture import gaussian_prior, mixture_prior
from .priors.network import network_prior
from .priors.posterior import exact_posterior
from .priors.schedule import Schedule, Step
from .priors.tiling import tiled
from .problem import (
    Needs,
    Problem,
    measurement_residual,
)
from .restoration import restore
from .samplers import Info, Sampler, Stepwise, Trace
from .simulation import measure
from .weights.names import shipped_priors
from .weights.store import load_prior, save_prior

__all__ = [
    "DDPMConfig",
    "DDPMUNet",
    "Guidance",
    "Guided",
    "Info",
    "Needs",
    "Operator",
    "PixelTransformer",
    "PixelTransformerConfig",
    "Prior",
    "Problem",
    "Sampler",
    "Schedule",
    "Step",
    "Stepwise",
    "Trace",
    "UNet",
    "UNetConfig",
    "classifier_free",
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
    "metrics",
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
