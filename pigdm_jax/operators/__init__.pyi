# The public names. Each is imported on first use, by `lazy_loader`.

from .base import Operator
from .blurring import blur, gaussian_blur, motion_blur, uniform_blur
from .channels import channel_mix, grayscale
from .composition import chain
from .cropping import crop, identity
from .custom import linear, nonlinear
from .inpainting import inpaint
from .jpeg_codec import jpeg
from .kronecker import separable
from .masks import center_mask, freeform_mask, random_mask
from .noising import noise
from .parsing import parse
from .quantization import low_dynamic_range, quantize
from .registry import REGISTRY
from .resizing import super_resolution
from .solve import damped_pinv
from .transforms import cartesian_mask, fourier, walsh_hadamard

__all__ = [
    "REGISTRY",
    "Operator",
    "blur",
    "cartesian_mask",
    "center_mask",
    "chain",
    "channel_mix",
    "crop",
    "damped_pinv",
    "fourier",
    "freeform_mask",
    "gaussian_blur",
    "grayscale",
    "identity",
    "inpaint",
    "jpeg",
    "linear",
    "low_dynamic_range",
    "motion_blur",
    "noise",
    "nonlinear",
    "parse",
    "quantize",
    "random_mask",
    "separable",
    "super_resolution",
    "uniform_blur",
    "walsh_hadamard",
]
