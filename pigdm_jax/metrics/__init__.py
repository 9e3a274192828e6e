"""How close a restoration is to the original."""

from pigdm_jax.metrics.fidelity import psnr, ssim

__all__ = ["psnr", "ssim"]
