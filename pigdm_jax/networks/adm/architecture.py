"""The ADM UNet as an entry of the registry of architectures."""

from pigdm_jax.networks.adm.keys import check_names, to_params
from pigdm_jax.networks.adm.recognition import recognise
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.networks.base import Architecture

ADM = Architecture(
    title="an ADM UNet",
    marks=("input_blocks.", "middle_block.", "output_blocks.", "time_embed."),
    network=UNet,
    config=UNetConfig,
    recognise=recognise,
    check_names=check_names,
    to_params=to_params,
)
