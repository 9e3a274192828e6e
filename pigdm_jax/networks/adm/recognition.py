"""The configuration of an ADM UNet from the shapes of its tensors and from flags."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.adm.flags import CheckpointFlags
from pigdm_jax.networks.adm.inference import infer
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.networks.base import Documents, Recognised, Shapes

ASSUMED = {
    "new_attention_order": (False, "the legacy attention order"),
    "schedule": ("linear", "the linear schedule"),
    "image_size": (None, "images of any size"),
}


def digest(shapes: Shapes) -> str:
    """A hash of all names and shapes, by which public checkpoints are recognised."""
    listing = json.dumps(sorted((key, list(shape)) for key, shape in shapes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


@functools.cache
def known_checkpoints() -> dict[str, dict[str, Any]]:
    """Names and further settings of the public checkpoints, by digest."""
    return json.loads((Path(__file__).parent / "known.json").read_text())


def recognise(
    shapes: Shapes, flags: CheckpointFlags, documents: Documents | None = None
) -> Recognised:
    """The configuration that follows from shapes, known checkpoints and flags.

    Args:
      shapes: of the checkpoint's tensors.
      flags: settings that shapes do not determine.
      documents: not used; an ADM UNet has none.

    Raises:
      CheckpointError: if they are not an ADM UNet's, contradict each other, or leave
        the width of attention heads open.
    """
    del documents
    decided = infer(shapes)
    known = known_checkpoints().get(digest(shapes), {"names": [], "settings": {}})
    given = _given(flags)
    resolutions = given.pop("attention_resolutions", None)
    settings = known["settings"]
    if not settings and not {"num_head_channels", "num_heads"} & given.keys():
        raise CheckpointError(
            "the tensors do not determine the width of attention heads, and this is "
            "not a public checkpoint; give --num-head-channels or --num-heads"
        )
    if "num_heads" in given and "num_head_channels" not in given:
        # A number of heads has no effect beside a width, so the known width is dropped.
        given["num_head_channels"] = -1
    overrides = [
        f"{_flag(key)} {value} instead of {settings[key]}"
        for key, value in given.items()
        if key in settings and settings[key] != value
    ]
    open_ = [key for key in ASSUMED if key not in settings and key not in given]
    assumptions = [f"{ASSUMED[key][1]} ({_flag(key)})" for key in open_]
    settings = {key: ASSUMED[key][0] for key in open_} | settings | given
    schedule = settings.pop("schedule")
    order = settings.pop("new_attention_order")
    config = UNetConfig(**decided, **settings, use_new_attention_order=order)
    _check_settings(config)
    if resolutions is not None:
        _check_resolutions(config, resolutions)
    return Recognised(
        UNet(config),
        schedule,
        tuple(known["names"]),
        tuple(assumptions),
        tuple(overrides),
    )


def _given(flags: CheckpointFlags) -> dict[str, Any]:
    """The flags that are given; for heads, ADM's -1 means not given."""
    given = {
        field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)
    }
    nothing = {key: -1 if "num_head" in key else None for key in given}
    return {k: v for k, v in given.items() if v is not None and v != nothing[k]}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_settings(config: UNetConfig) -> None:
    """Refuse settings that the network cannot be built or run with."""
    side = config.image_size
    if side is not None and (side < 1 or side % config.multiple):
        raise CheckpointError(
            f"--image-size must be a multiple of {config.multiple} for this network, "
            f"got {side}"
        )
    width = config.num_head_channels
    if width != -1 and config.num_heads_upsample != -1:
        raise CheckpointError(
            "--num-heads-upsample has no effect where heads have a fixed width; give "
            "--num-heads too"
        )
    last = len(config.channel_mult) - 1
    for level, multiple in enumerate(config.channel_mult):
        if 2**level not in config.attention_resolutions and level != last:
            continue
        channels = int(multiple * config.model_channels)
        if width != -1 and (width < 1 or channels % width):
            raise CheckpointError(
                f"--num-head-channels {width} does not divide the {channels} channels "
                "of a layer with attention"
            )
        for heads in (config.num_heads, config.num_heads_upsample):
            if width == -1 and heads != -1 and (heads < 1 or channels % heads):
                raise CheckpointError(
                    f"{heads} attention heads do not divide the {channels} channels "
                    "of a layer"
                )


def _check_resolutions(config: UNetConfig, text: str) -> None:
    """Compare ADM's flag, in pixels, with the layers that have attention."""
    side = config.image_size
    if side is None:
        raise CheckpointError(
            "--attention-resolutions is in pixels, so it needs --image-size"
        )
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise CheckpointError(
            f"--attention-resolutions is a list like 32,16,8, got {text}"
        )
    # As in ADM, resolutions that the network does not have are ignored.
    factors = {2**level for level in range(len(config.channel_mult))}
    wanted = {side // int(part) for part in parts} & factors
    if wanted != set(config.attention_resolutions):
        found = ",".join(str(side // f) for f in config.attention_resolutions)
        raise CheckpointError(
            f"--attention-resolutions {text} contradicts the tensors, which have "
            f"attention at {found or 'none'} for --image-size {side}"
        )
