"""How close a restoration is to the original.

To add a metric, write it in a file here and name it in `METRICS`.
"""

from collections.abc import Callable
from typing import Any

from pigdm_jax.core.lazy import LazyMapping
from pigdm_jax.metrics.fidelity import psnr, ssim

METRICS: LazyMapping[Callable[..., Any]] = LazyMapping(
    {
        "psnr": "pigdm_jax.metrics.fidelity:psnr",
        "ssim": "pigdm_jax.metrics.fidelity:ssim",
    }
)
"""Functions of (image, reference), images in [-1, 1], by name."""

__all__ = ["METRICS", "psnr", "ssim"]
