from .base import (
    Denoised,
    GradientGuidance,
    Guidance,
    Guided,
    WeightedGuidance,
)
from .moment import Calibrated, Moment
from .pseudoinverse import Pseudoinverse
from .reconstruction import Reconstruction
from .registry import GUIDANCES, parse

__all__ = [
    "GUIDANCES",
    "Calibrated",
    "Denoised",
    "GradientGuidance",
    "Guidance",
    "Guided",
    "Moment",
    "Pseudoinverse",
    "Reconstruction",
    "WeightedGuidance",
    "parse",
]
