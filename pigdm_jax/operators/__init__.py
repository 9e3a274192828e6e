"""Measurement operators and their pseudoinverses, one file a family."""

from pigdm_jax.operators.base import Operator
from pigdm_jax.operators.blurring import blur, gaussian_blur, motion_blur, uniform_blur
from pigdm_jax.operators.channels import channel_mix, grayscale
from pigdm_jax.operators.composition import chain
from pigdm_jax.operators.cropping import crop, identity
from pigdm_jax.operators.custom import linear, nonlinear
from pigdm_jax.operators.inpainting import (
    center_mask,
    freeform_mask,
    inpaint,
    random_mask,
)
from pigdm_jax.operators.jpeg_codec import jpeg
from pigdm_jax.operators.kronecker import separable
from pigdm_jax.operators.quantization import low_dynamic_range, quantize
from pigdm_jax.operators.registry import REGISTRY, parse
from pigdm_jax.operators.resizing import super_resolution
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.operators.transforms import cartesian_mask, fourier, walsh_hadamard

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
    "nonlinear",
    "parse",
    "quantize",
    "random_mask",
    "separable",
    "super_resolution",
    "uniform_blur",
    "walsh_hadamard",
]
