"""Metrics by their names on the command line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pigdm_jax.core.lazy import LazyMapping

if TYPE_CHECKING:
    import pigdm_jax.metrics.base

METRICS: LazyMapping["pigdm_jax.metrics.base.Metric"] = LazyMapping(
    {
        "psnr": "pigdm_jax.metrics.fidelity:PSNR",
        "ssim": "pigdm_jax.metrics.fidelity:SSIM",
        "lpips": "pigdm_jax.metrics.perceptual:LPIPS_ALEX",
        "lpips_vgg": "pigdm_jax.metrics.perceptual:LPIPS_VGG",
        "fid": "pigdm_jax.metrics.frechet:FID",
        "kid": "pigdm_jax.metrics.kernel:KID",
        "accuracy": "pigdm_jax.metrics.classification:ACCURACY",
        "top5": "pigdm_jax.metrics.classification:TOP5",
    }
)
"""By their names; each is imported when it is looked up."""

DEFAULT = ("psnr", "ssim")
"""Those that are printed after a restoration whose original is known."""


def default_metrics() -> "Mapping[str, pigdm_jax.metrics.base.ImageMetric]":
    """The metrics of `DEFAULT`, functions of (image, reference), by name."""
    return {name: METRICS[name] for name in DEFAULT}  # type: ignore[misc]
