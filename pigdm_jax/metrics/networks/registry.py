"""Networks of metrics by name."""

from typing import TYPE_CHECKING

from pigdm_jax.core.lazy import LazyMapping

if TYPE_CHECKING:
    import pigdm_jax.metrics.networks.base

NETWORKS: LazyMapping["pigdm_jax.metrics.networks.base.NetworkSource"] = LazyMapping(
    {
        "inception": "pigdm_jax.metrics.networks.inception:INCEPTION",
        "lpips_alex": "pigdm_jax.metrics.networks.perceptual:LPIPS_ALEX",
        "lpips_vgg": "pigdm_jax.metrics.networks.perceptual:LPIPS_VGG",
        "resnet50": "pigdm_jax.metrics.networks.resnet:RESNET50",
    }
)
"""By their names; each is imported when it is looked up."""
