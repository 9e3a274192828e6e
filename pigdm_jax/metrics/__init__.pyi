from .base import (
    Accumulator,
    DistributionMetric,
    ImageMetric,
    Metric,
    Summary,
)
from .evaluation import evaluate_folders, plan_evaluation
from .fidelity import psnr, ssim
from .frechet import (
    FrechetDistance,
    Gaussian,
    frechet_distance,
    read_statistics,
    write_statistics,
)
from .kernel import KernelDistance, kernel_distance
from .measured import consistency
from .networks.base import FeatureNetwork
from .networks.loading import load_network
from .plan import Evaluation, EvaluationPlan
from .registry import DEFAULT, METRICS, default_metrics

__all__ = [
    "DEFAULT",
    "METRICS",
    "Accumulator",
    "DistributionMetric",
    "Evaluation",
    "EvaluationPlan",
    "FeatureNetwork",
    "FrechetDistance",
    "Gaussian",
    "ImageMetric",
    "KernelDistance",
    "Metric",
    "Summary",
    "consistency",
    "default_metrics",
    "evaluate_folders",
    "frechet_distance",
    "kernel_distance",
    "load_network",
    "plan_evaluation",
    "psnr",
    "read_statistics",
    "ssim",
    "write_statistics",
]
