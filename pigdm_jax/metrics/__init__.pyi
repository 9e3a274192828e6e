from .base import (
    Accumulator,
    DistributionMetric,
    ImageMetric,
    Metric,
    Summary,
)
from .evaluation import Evaluation, evaluate_folders
from .fidelity import psnr, ssim
from .registry import DEFAULT, METRICS, default_metrics

__all__ = [
    "DEFAULT",
    "METRICS",
    "Accumulator",
    "DistributionMetric",
    "Evaluation",
    "ImageMetric",
    "Metric",
    "Summary",
    "default_metrics",
    "evaluate_folders",
    "psnr",
    "ssim",
]
