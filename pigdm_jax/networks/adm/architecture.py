"""The ADM UNet as an entry of the registry of architectures."""

from pigdm_jax.networks.adm.keys import check_names, to_params
from pigdm_jax.networks.adm.recognition import recognise
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.networks.base import Architecture

ADM = Architecture(UNet, UNetConfig, recognise, check_names, to_params)
