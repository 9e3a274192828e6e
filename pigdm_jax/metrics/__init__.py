"""How close a restoration is to the original.

To add a metric, write it in a file here and name it in `METRICS`.
"""

from pigdm_jax.core.registry import Registry
from pigdm_jax.metrics.fidelity import psnr, ssim

METRICS = Registry({"psnr": psnr, "ssim": ssim})
"""Functions of (image, reference), images in [-1, 1], by name."""

__all__ = ["METRICS", "psnr", "ssim"]
