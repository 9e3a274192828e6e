"""The settings that the names and shapes of an ADM UNet's tensors determine."""

import re
from typing import Any

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.base import Shapes
from pigdm_jax.networks.keys import inferring


def infer(shapes: Shapes) -> dict[str, Any]:
    """The arguments of `UNetConfig` that shapes determine.

    Raises:
      CheckpointError: if they are not an ADM UNet's.
    """
    with inferring("an ADM UNet", shapes):
        decided = _infer(shapes)
    _check_widths(decided)
    return decided


def _infer(shapes: Shapes) -> dict[str, Any]:
    """As `infer`; raises KeyError with the name of a missing tensor."""
    model_channels = shapes["time_embed.0.weight"][1]
    blocks = _positions(shapes, "input_blocks")
    out_blocks = _positions(shapes, "output_blocks")
    # On the way up each level but the last ends in a layer that doubles the image. If
    # it has no convolution, it has no tensors; but then its counterpart on the way down
    # leaves a gap in the numbers of the blocks.
    ups = [
        layer
        for _, position, layer in out_blocks
        if position > 0 and layer in ("in_layers", "conv")
    ]
    present = {block for block, _, _ in blocks}
    gaps = max(present) + 1 - len(present)
    levels = 1 + (len(ups) or gaps)
    per_level, rest = divmod(1 + max(block for block, _, _ in out_blocks), levels)
    num_res_blocks = per_level - 1
    if rest or num_res_blocks < 1:
        raise ValueError("its levels do not have equally many blocks")
    firsts = [1 + level * per_level for level in range(levels)]
    channels = [shapes[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts]
    attention = [2**level for level, i in enumerate(firsts) if (i, 1, "qkv") in blocks]
    embedding = shapes["middle_block.0.emb_layers.1.weight"][0]
    return {
        "model_channels": model_channels,
        "channel_mult": tuple(_multiple(c, model_channels) for c in channels),
        "num_res_blocks": num_res_blocks,
        "attention_resolutions": tuple(attention),
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "num_classes": shapes.get("label_emb.weight", (None,))[0],
        "use_scale_shift_norm": embedding == 2 * channels[-1],
        "resblock_updown": "conv" not in ups and not gaps,
        "conv_resample": not gaps,
    }


def _positions(shapes: Shapes, side: str) -> set[tuple[int, int, str]]:
    """(block, position in it, kind of layer) for a side of the network."""
    kinds = "in_layers|qkv|conv|op|weight"
    pattern = re.compile(rf"{side}\.([0-9]{{1,6}})\.([0-9])\.({kinds})\b")
    found = (pattern.match(key) for key in shapes)
    positions = {(int(m[1]), int(m[2]), m[3]) for m in found if m}
    if not positions:
        raise KeyError(f"{side}.0.0")
    # A number out of range is not ADM's, and would make the list of levels huge.
    if max(block for block, _, _ in positions) > len(shapes):
        raise ValueError(f"the blocks of its {side} are not numbered consecutively")
    return positions


def _multiple(channels: int, base: int) -> int | float:
    """The multiple of the base that, rounded down, gives the number of channels."""
    if channels % base == 0:
        return channels // base
    multiple = channels / base
    return multiple if int(multiple * base) == channels else (channels + 0.5) / base


def _check_widths(decided: dict[str, Any]) -> None:
    """Refuse widths that ADM's UNet cannot have."""
    for multiple in decided["channel_mult"]:
        channels = int(multiple * decided["model_channels"])
        if channels % 32:
            raise CheckpointError(
                f"a level has {channels} channels, and ADM's group norms need "
                "multiples of 32"
            )
    image = 3 if decided["in_channels"] == 6 else decided["in_channels"]
    if decided["out_channels"] not in (image, 2 * image):
        raise CheckpointError(
            f"the network makes {decided['out_channels']} channels of "
            f"{decided['in_channels']}, so it does not predict the noise in an image"
        )
