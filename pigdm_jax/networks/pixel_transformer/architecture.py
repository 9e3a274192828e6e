"""JiT as an entry of the registry of architectures."""

from pigdm_jax.networks.base import Architecture, NewNetwork, Sizes
from pigdm_jax.networks.pixel_transformer.keys import check_names, to_params
from pigdm_jax.networks.pixel_transformer.recognition import recognise
from pigdm_jax.networks.pixel_transformer.transformer import (
    PixelTransformer,
    PixelTransformerConfig,
)


def untrained(new: NewNetwork) -> PixelTransformer:
    """A JiT to train from scratch, with the proportions of the public ones.

    Its bottleneck keeps all numbers of a small patch, and 128 of a larger one. Class
    tokens join after a third of the blocks, if there are classes.

    Raises:
      ValueError: if it is to be no flow, to take an image besides the noisy one, or
        images of several sizes.
    """
    if not new.flow:
        raise ValueError(
            "a JiT is trained by flow matching; add --flow --predicts x0, or choose "
            "another --architecture"
        )
    new.check_takes_no_image("a JiT")
    if len(new.crops) > 1:
        raise ValueError(
            f"a JiT takes images of one size, got crops of {len(new.crops)} sizes"
        )
    width, patch, depth = (new.sizes.channels, new.sizes.patch, new.sizes.blocks)
    config = PixelTransformerConfig(
        image_size=new.crops[0],
        patch_size=patch,
        hidden_size=width,
        depth=depth,
        num_heads=width // (32 if width % 64 else 64),
        mlp_size=8 * width // 3,
        bottleneck_dim=min(128, 3 * patch**2),
        num_classes=new.num_classes or 0,
        in_context_len=32 if new.num_classes else 0,
        in_context_start=depth // 3,
    )
    return PixelTransformer(config)


JIT = Architecture(
    title="a JiT",
    marks=(
        "blocks.",
        "final_layer.",
        "in_context_posemb",
        "pos_embed",
        "t_embedder.",
        "x_embedder.",
        "y_embedder.",
    ),
    network=PixelTransformer,
    config=PixelTransformerConfig,
    recognise=recognise,
    check_names=check_names,
    to_params=to_params,
    sizes=Sizes(channels=192, blocks=6, patch=4),
    untrained=untrained,
)
