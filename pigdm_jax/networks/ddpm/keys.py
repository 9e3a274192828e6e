"""Names of a DDPM UNet's tensors in each public layout.

Each layout has its names for the network's layers, `stems`, and for the layers inside
of blocks, `layers`. In `stems`, {level} is the level, {up} its number on the way up,
{i} a block's number in its level.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks import keys
from pigdm_jax.networks.base import Shapes
from pigdm_jax.networks.ddpm.unet import DDPMUNet


class Layout(NamedTuple):
    """A public layout of the tensors.

    Attributes:
      mark: a tensor that every checkpoint in this layout has.
      stems: its names of the network's layers.
      layers: its names of the layers in blocks, where they differ from ours; empty
        where the block itself is the layer.
    """

    mark: str
    stems: Mapping[str, str]
    layers: Mapping[str, str]


ORIGINAL = Layout(
    "temb.dense.0.weight",
    {
        "temb_dense_0": "temb.dense.0",
        "temb_dense_1": "temb.dense.1",
        "down_block": "down.{level}.block.{i}",
        "down_attn": "down.{level}.attn.{i}",
        "down_downsample": "down.{level}.downsample",
        "mid_block_1": "mid.block_1",
        "mid_attn_1": "mid.attn_1",
        "mid_block_2": "mid.block_2",
        "up_block": "up.{level}.block.{i}",
        "up_attn": "up.{level}.attn.{i}",
        "up_upsample": "up.{level}.upsample",
    },
    {},
)

_DIFFUSERS = {
    "temb_dense_0": "time_embedding.linear_1",
    "temb_dense_1": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "down_block": "down_blocks.{level}.resnets.{i}",
    "down_attn": "down_blocks.{level}.attentions.{i}",
    "down_downsample": "down_blocks.{level}.downsamplers.0",
    "mid_block_1": "mid_block.resnets.0",
    "mid_attn_1": "mid_block.attentions.0",
    "mid_block_2": "mid_block.resnets.1",
    "up_block": "up_blocks.{up}.resnets.{i}",
    "up_attn": "up_blocks.{up}.attentions.{i}",
    "up_upsample": "up_blocks.{up}.upsamplers.0",
    "norm_out": "conv_norm_out",
}
_DIFFUSERS_LAYERS = {
    "temb_proj": "time_emb_proj",
    "nin_shortcut": "conv_shortcut",
    "norm": "group_norm",
}
_NEW_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OLD_ATTENTION = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
DIFFUSERS_MARK = "time_embedding.linear_1.weight"
DIFFUSERS = Layout(DIFFUSERS_MARK, _DIFFUSERS, _DIFFUSERS_LAYERS | _NEW_ATTENTION)
OLD_DIFFUSERS = DIFFUSERS._replace(layers=_DIFFUSERS_LAYERS | _OLD_ATTENTION)

FLOW = Layout(
    "temb_net.main.0.weight",
    {
        "temb_dense_0": "temb_net.main.0",
        "temb_dense_1": "temb_net.main.2",
        "conv_in": "begin_conv",
        "down_block": "down_modules.{level}.{level}a_{i}a_block",
        "down_attn": "down_modules.{level}.{level}a_{i}b_attn",
        "down_downsample": "down_modules.{level}.{level}b_downsample",
        "mid_block_1": "mid_modules.0",
        "mid_attn_1": "mid_modules.1",
        "mid_block_2": "mid_modules.2",
        "up_block": "up_modules.{up}.{level}a_{i}a_block",
        "up_attn": "up_modules.{up}.{level}a_{i}b_attn",
        "up_upsample": "up_modules.{up}.{level}b_upsample.up_conv",
        "norm_out": "end_conv.0",
        "conv_out": "end_conv.2",
    },
    {"conv": "", "nin_shortcut": "shortcut", "q": "attn_q", "k": "attn_k"}
    | {"v": "attn_v"},
)

LAYOUTS = {
    "original": ORIGINAL,
    "diffusers": DIFFUSERS,
    "old diffusers": OLD_DIFFUSERS,
    "flow": FLOW,
}

_IN_LEVEL = re.compile(r"(down|up)_(\d+)_(block|attn|downsample|upsample)(?:_(\d+))?")


def layout_of(shapes: Shapes) -> str:
    """The name of the layout that a checkpoint has.

    Raises:
      CheckpointError: if it has none.
    """
    for name, layout in LAYOUTS.items():
        if layout.mark in shapes:
            old = name == "diffusers" and any(".query." in key for key in shapes)
            return "old diffusers" if old else name
    marks = ", ".join(dict.fromkeys(layout.mark for layout in LAYOUTS.values()))
    raise CheckpointError(
        f"the tensors are not those of a DDPM UNet (there is none of {marks})"
    )


def torch_names(layout: str, levels: int) -> Callable[[keys.Path], str]:
    """PyTorch's names of parameters, as a function of their paths.

    Args:
      layout: one of `LAYOUTS`.
      levels: number of levels of the network.
    """
    _, stems, layers = LAYOUTS[layout]

    def torch_key(path: keys.Path) -> str:
        top, *inner, leaf = path
        match = _IN_LEVEL.fullmatch(top)
        if match:
            way, level, kind, i = match.groups()
            up = levels - 1 - int(level)
            stem = stems[f"{way}_{kind}"].format(level=level, up=up, i=i)
        else:
            stem = stems.get(top, top)
        parts = [stem, *(layers.get(name, name) for name in inner)]
        parts.append("bias" if leaf == "bias" else "weight")
        return ".".join(part for part in parts if part)

    return torch_key


def _places(network: DDPMUNet, layout: str) -> dict[str, keys.Place]:
    levels = len(network.config.block_out_channels)
    return keys.places(network, torch_names(layout, levels))


def check_names(shapes: Shapes, network: DDPMUNet) -> None:
    """Compare the tensors of a checkpoint with those of a network.

    Raises:
      CheckpointError: that names every tensor that is missing, superfluous or of
        another shape.
    """
    keys.check_names(shapes, _places(network, layout_of(shapes)))


def to_params(tensors: Iterable[tuple[str, np.ndarray]], network: DDPMUNet) -> Any:
    """The parameters of a network on the CPU, from arrays by any layout's names."""
    # No name means different things in two layouts.
    everywhere = {
        key: place
        for layout in LAYOUTS
        for key, place in _places(network, layout).items()
    }
    return keys.to_params(tensors, everywhere)
