"""The ADM UNet as an entry of the registry of architectures."""

from pigdm_jax.networks.adm.keys import check_names, to_params
from pigdm_jax.networks.adm.recognition import recognise
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.networks.base import Architecture, NewNetwork, Sizes


def untrained(new: NewNetwork) -> UNet:
    """An ADM UNet to train from scratch, with attention heads of 32 channels."""
    by_blocks = new.sizes.resampling == "blocks"
    config = UNetConfig(
        model_channels=new.sizes.channels,
        channel_mult=new.sizes.channel_mult,
        num_res_blocks=new.sizes.blocks,
        attention_resolutions=new.sizes.attention,
        in_channels=6 if new.takes_image else 3,
        num_head_channels=32,
        num_classes=new.num_classes,
        resblock_updown=by_blocks,
        conv_resample=by_blocks,
    )
    return UNet(config)


ADM = Architecture(
    title="an ADM UNet",
    marks=("input_blocks.", "middle_block.", "output_blocks.", "time_embed."),
    network=UNet,
    config=UNetConfig,
    recognise=recognise,
    check_names=check_names,
    to_params=to_params,
    sizes=Sizes(
        channels=32,
        channel_mult=(1, 2, 3, 4),
        blocks=1,
        attention=(8,),
        resampling="blocks",
    ),
    untrained=untrained,
)
