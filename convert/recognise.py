"""The network's configuration, from the shapes of its tensors and from flags."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pigdm_convert.reader import CheckpointError
from pigdm_jax.unet import UNetConfig

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Flags:
    """What shapes do not tell; None for "not said". Names are those of ADM's flags.

    Attributes:
      num_head_channels: width of an attention head.
      num_heads: number of attention heads, where the width is not fixed.
      num_heads_upsample: number of heads on the way up, where it differs.
      new_attention_order: split q, k, v before heads.
      attention_resolutions: image sizes with attention, "32,16,8"; only to check.
      image_size: side of the training images.
      schedule: "linear" or "cosine".
    """

    num_head_channels: int | None = None
    num_heads: int | None = None
    num_heads_upsample: int | None = None
    new_attention_order: bool | None = None
    attention_resolutions: str | None = None
    image_size: int | None = None
    schedule: str | None = None


class Recognised(NamedTuple):
    """What a checkpoint is.

    Attributes:
      config: the network.
      schedule: "linear" or "cosine".
      names: the public checkpoints that have these shapes; none if unknown.
      assumptions: what was neither in the shapes nor said, in words.
    """

    config: UNetConfig
    schedule: str
    names: tuple[str, ...]
    assumptions: tuple[str, ...]


def digest(shapes: Shapes) -> str:
    """What a checkpoint is recognised by: a hash of all names and shapes."""
    listing = json.dumps(sorted((key, list(shape)) for key, shape in shapes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


@functools.cache
def known_checkpoints() -> dict[str, dict[str, Any]]:
    """By digest: names of public checkpoints, and what their shapes do not tell."""
    return json.loads((Path(__file__).parent / "known.json").read_text())


def recognise(shapes: Shapes, flags: Flags) -> Recognised:
    """The configuration that shapes, known checkpoints and flags give together.

    Raises:
      CheckpointError: if they are not an ADM UNet's, contradict each other, or leave
        the width of attention heads open.
    """
    try:
        decided = _from_shapes(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise CheckpointError(
            "the tensors are not those of an ADM UNet (input_blocks, middle_block, "
            "output_blocks); other networks cannot be converted"
        ) from None
    known = known_checkpoints().get(digest(shapes))
    said = {
        field.name: value
        for field in dataclasses.fields(flags)
        if (value := getattr(flags, field.name)) is not None
    }
    resolutions = said.pop("attention_resolutions", None)
    assumptions = []
    if known is None:
        if not {"num_head_channels", "num_heads"} & set(said):
            raise CheckpointError(
                "the tensors do not tell how wide attention heads are, and this is no "
                "public checkpoint; say it by --num-head-channels or --num-heads"
            )
        assumed = {"new_attention_order": False, "schedule": "linear"}
        words = {
            "new_attention_order": "the legacy attention order (--new-attention-order)",
            "schedule": "the linear schedule (--schedule)",
        }
        assumptions = [text for key, text in words.items() if key not in said]
        if "image_size" not in said:
            assumptions.append("images of any size (--image-size)")
        settings = assumed | said
    else:
        settings = known["settings"] | said
    schedule = settings.pop("schedule")
    order = settings.pop("new_attention_order")
    config = UNetConfig(**decided, **settings, use_new_attention_order=order)
    _check_heads(config)
    if resolutions is not None:
        _check_resolutions(config, resolutions)
    names = tuple(known["names"]) if known else ()
    return Recognised(config, schedule, names, tuple(assumptions))


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    """What the tensors decide; any error means that they are no ADM UNet's."""
    model_channels = shapes["time_embed.0.weight"][1]
    blocks = _positions(shapes, "input_blocks")
    out_blocks = _positions(shapes, "output_blocks")
    ups = [
        leaf
        for index, position, leaf in out_blocks
        if position > 0 and leaf in ("in_layers", "conv")
    ]
    present = {index for index, _, _ in blocks}
    gaps = max(present) + 1 - len(present)
    levels = 1 + (len(ups) or gaps)
    per_level = (1 + max(index for index, _, _ in out_blocks)) / levels
    num_res_blocks = int(per_level) - 1
    if num_res_blocks != per_level - 1 or num_res_blocks < 1:
        raise ValueError("levels do not have equally many blocks")
    firsts = [1 + level * (num_res_blocks + 1) for level in range(levels)]
    channels = [shapes[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts]
    attention = [
        2**level for level, i in enumerate(firsts) if (i, 1, "qkv") in set(blocks)
    ]
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


def _positions(shapes: Shapes, side: str) -> list[tuple[int, int, str]]:
    """(block, position in it, kind of layer), once each, for a side of the network."""
    pattern = re.compile(rf"{side}\.(\d+)\.(\d+)\.(in_layers|qkv|conv|op|weight)\b")
    found = (pattern.match(key) for key in shapes)
    return sorted({(int(m[1]), int(m[2]), m[3]) for m in found if m})


def _multiple(channels: int, base: int) -> int | float:
    """The multiple whose product with the base, rounded down, is the width."""
    if channels % base == 0:
        return channels // base
    multiple = channels / base
    return multiple if int(multiple * base) == channels else (channels + 0.5) / base


def _check_heads(config: UNetConfig) -> None:
    factors = {*config.attention_resolutions, 2 ** (len(config.channel_mult) - 1)}
    for level, multiple in enumerate(config.channel_mult):
        channels = int(multiple * config.model_channels)
        if 2**level not in factors:
            continue
        heads, width = config.num_heads, config.num_head_channels
        if width != -1 and (width < 1 or channels % width):
            raise CheckpointError(
                f"--num-head-channels {width} does not divide the {channels} channels "
                "of a layer with attention"
            )
        for number in (heads, config.num_heads_upsample):
            if width == -1 and number != -1 and (number < 1 or channels % number):
                raise CheckpointError(
                    f"{number} attention heads do not divide the {channels} channels "
                    "of a layer"
                )


def _check_resolutions(config: UNetConfig, text: str) -> None:
    """Hold ADM's flag, in pixels, against the layers that have attention."""
    if config.image_size is None:
        raise CheckpointError(
            "--attention-resolutions is in pixels, so it needs --image-size"
        )
    found = {config.image_size // f for f in config.attention_resolutions}
    if not re.fullmatch(r"\d+(,\d+)*", text) or set(map(int, text.split(","))) != found:
        raise CheckpointError(
            f"--attention-resolutions {text} contradicts the tensors, which have "
            f"attention at {','.join(map(str, sorted(found, reverse=True)))}"
        )
