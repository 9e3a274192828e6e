"""The DDPM UNet as an entry of the registry of architectures."""

from pigdm_jax.networks.base import Architecture, NewNetwork, Sizes
from pigdm_jax.networks.ddpm.keys import check_names, to_params
from pigdm_jax.networks.ddpm.recognition import recognise
from pigdm_jax.networks.ddpm.unet import DDPMConfig, DDPMUNet


def untrained(new: NewNetwork) -> DDPMUNet:
    """A DDPM UNet to train from scratch.

    Raises:
      ValueError: if it is to take an image besides the noisy one.
    """
    new.check_takes_no_image("a DDPM UNet")
    sizes = new.sizes
    levels = range(len(sizes.channel_mult))
    attention = tuple(level for level in levels if 2**level in sizes.attention)
    config = DDPMConfig(
        block_out_channels=tuple(sizes.channels * m for m in sizes.channel_mult),
        layers_per_block=sizes.blocks,
        down_attention=attention,
        up_attention=attention,
        num_classes=new.num_classes,
    )
    return DDPMUNet(config)


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
    sizes=Sizes(channels=32, channel_mult=(1, 2, 3, 4), blocks=1, attention=(8,)),
    untrained=untrained,
)
