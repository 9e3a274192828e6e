"""JiT as an entry of the registry of architectures."""

from pigdm_jax.networks.base import Architecture
from pigdm_jax.networks.pixel_transformer.keys import check_names, to_params
from pigdm_jax.networks.pixel_transformer.recognition import recognise
from pigdm_jax.networks.pixel_transformer.transformer import (
    PixelTransformer,
    PixelTransformerConfig,
)

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
)
