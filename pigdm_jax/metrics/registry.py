"""Metrics by their names on the command line."""

from collections.abc import Callable, Mapping
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

PARAMETRIC: LazyMapping["Callable[[str], pigdm_jax.metrics.base.Metric]"] = LazyMapping(
    {"consistency": "pigdm_jax.metrics.measured:consistency"}
)
"""Functions that make a metric from the text behind NAME: on the command line."""

DEFAULT = ("psnr", "ssim")
"""Those that are printed after a restoration whose original is known."""


def check_metric(text: str) -> None:
    """Refuse what names no metric, without importing any.

    Raises:
      ValueError: with the names that there are.
    """
    name, colon, _ = text.partition(":")
    if text not in METRICS and not (colon and name in PARAMETRIC):
        known = [*METRICS, *(f"{name}:TASK" for name in PARAMETRIC)]
        raise ValueError(f"no metric {text!r}; there are {', '.join(known)}")


def find_metric(text: str) -> "pigdm_jax.metrics.base.Metric":
    """The metric that a text names: NAME, or NAME:TEXT for those of `PARAMETRIC`.

    Raises:
      ValueError: if there is none.
    """
    check_metric(text)
    name, _, rest = text.partition(":")
    return METRICS[text] if text in METRICS else PARAMETRIC[name](rest)


def default_metrics() -> "Mapping[str, pigdm_jax.metrics.base.ImageMetric]":
    """The metrics of `DEFAULT`, functions of (image, reference), by name."""
    return {name: METRICS[name] for name in DEFAULT}  # type: ignore[misc]
