"""The DDPM UNet as an entry of the registry of architectures."""

from pigdm_jax.networks.base import Architecture
from pigdm_jax.networks.ddpm.keys import check_names, to_params
from pigdm_jax.networks.ddpm.recognition import recognise
from pigdm_jax.networks.ddpm.unet import DDPMConfig, DDPMUNet

DDPM = Architecture(
    title="a DDPM UNet (in the layout of its original, of diffusers or of PnP-Flow)",
    marks=(
        *("down.", "mid.", "up.", "temb."),
        *("down_blocks.", "mid_block.", "up_blocks.", "time_embedding."),
        *("down_modules.", "mid_modules.", "up_modules.", "temb_net."),
    ),
    network=DDPMUNet,
    config=DDPMConfig,
    recognise=recognise,
    check_names=check_names,
    to_params=to_params,
)
