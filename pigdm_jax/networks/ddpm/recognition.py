"""The configuration of a DDPM UNet from its tensors, its `config.json` and flags."""

import dataclasses
from typing import Any, NamedTuple

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.adm.flags import CheckpointFlags
from pigdm_jax.networks.base import Documents, Recognised, Shapes
from pigdm_jax.networks.ddpm.diffusers import network_settings, noise_settings
from pigdm_jax.networks.ddpm.inference import infer
from pigdm_jax.networks.ddpm.keys import DIFFUSERS_MARK, layout_of
from pigdm_jax.networks.ddpm.unet import DDPMConfig, DDPMUNet

FLAGS = ("image_size", "schedule")


class Public(NamedTuple):
    """Public checkpoints that have one configuration."""

    names: tuple[str, ...]
    config: DDPMConfig


DDPM_256 = Public(
    ("ddpm-celebahq-256", "ddpm-church-256", "ddpm-bedroom-256", "ddpm-cat-256"),
    DDPMConfig((128, 128, 256, 256, 512, 512), 2, (4,), (4,), image_size=256),
)
DDPM_32 = Public(
    ("ddpm-cifar10-32",),
    DDPMConfig((128, 256, 256, 256), 2, (1,), (1,), image_size=32),
)
FLOW: dict[str, Any] = {"downsample_padding": 1, "clean_at_one": True}
# At 128 x 128 the fourth level, of 16 x 16 pixels, has attention; at 256 x 256 none.
FLOW_128 = Public(
    ("pnpflow-celeba-128",),
    DDPMConfig((32, 64, 128, 256), 6, (3,), (3,), image_size=128, **FLOW),
)
FLOW_256 = Public(
    ("pnpflow-afhq-cat-256",),
    DDPMConfig((32, 64, 128, 256), 6, (), (), image_size=256, **FLOW),
)


def recognise(
    shapes: Shapes, flags: CheckpointFlags, documents: Documents | None = None
) -> Recognised:
    """The configuration that follows from tensors, documents and flags.

    Args:
      shapes: of the checkpoint's tensors.
      flags: `image_size` and `schedule`; the others are those of an ADM UNet.
      documents: "config" for diffusers' layout; "scheduler" if there is one.

    Raises:
      CheckpointError: if they are not a DDPM UNet's, contradict each other, or leave a
        setting open.
    """
    given, documents = _given(flags), documents or {}
    layout = layout_of(shapes)
    names, decided = _public(layout, _decided(shapes, layout, documents))
    schedule, predicts = None, "v" if layout == "flow" else "eps"
    if "scheduler" in documents:
        schedule, predicts = noise_settings(documents["scheduler"])
    found = {"image_size": decided.get("image_size"), "schedule": schedule}
    known = {name: value for name, value in found.items() if value is not None} | given
    config = DDPMConfig(**decided | {"image_size": known.get("image_size")})
    _check(config)
    return Recognised(
        DDPMUNet(config),
        known.get("schedule", "linear"),
        names,
        _assumptions(layout, names, known),
        _overrides(given, found),
        predicts,
        layout == "flow",
    )


def _decided(shapes: Shapes, layout: str, documents: Documents) -> dict[str, Any]:
    """The settings that tensors, their layout and diffusers' `config.json` decide.

    Raises:
      CheckpointError: if they contradict each other, or that document is missing.
    """
    decided = infer(shapes, layout)
    if layout == "flow":
        return decided | FLOW
    if layout in ("diffusers", "old diffusers"):
        if "config" not in documents:
            raise CheckpointError(
                f"tensors in diffusers' layout ({DIFFUSERS_MARK}) need the config.json "
                "beside them: give the folder that has both"
            )
        decided |= network_settings(documents["config"])
        _compare(decided, documents["config"])
    return decided


def _public(
    layout: str, decided: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The public checkpoints that have these settings, and the settings with theirs."""
    for public in (FLOW_128, FLOW_256) if layout == "flow" else (DDPM_256, DDPM_32):
        sized = {"image_size": public.config.image_size} | decided
        if DDPMConfig(**sized) == public.config:
            return public.names, sized
    return (), decided


def _assumptions(
    layout: str, names: tuple[str, ...], known: dict[str, Any]
) -> tuple[str, ...]:
    """What is assumed, as phrases.

    Args:
      layout: of the tensors' names.
      names: of the public checkpoints; none if unknown.
      known: the image's size and the schedule, as far as they are.
    """
    phrases = {
        "a flow whose t is 1 for a clean image, as in PnP-Flow": layout == "flow",
        "32 groups, epsilon 1e-6 and one attention head": (
            layout == "original" and not names
        ),
        "images of any size (--image-size)": "image_size" not in known,
        "the linear schedule (--schedule)": (
            "schedule" not in known and layout != "flow"
        ),
    }
    return tuple(phrase for phrase, assumed in phrases.items() if assumed)


def _overrides(given: dict[str, Any], found: dict[str, Any]) -> tuple[str, ...]:
    """Flags that differ from what was found, as phrases."""
    return tuple(
        f"--{name.replace('_', '-')} {value} instead of "
        + (str(found[name]) if name == "image_size" else "the file's")
        for name, value in given.items()
        if found[name] not in (None, value)
    )


def _given(flags: CheckpointFlags) -> dict[str, Any]:
    """The flags that are given.

    Raises:
      CheckpointError: if one of them is a setting that a DDPM UNet does not have.
    """
    given = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(flags)
        if getattr(flags, field.name) is not None
    }
    for name in given:
        if name not in FLAGS:
            raise CheckpointError(
                f"--{name.replace('_', '-')} is a setting of the ADM UNet, and these "
                "are the tensors of a DDPM UNet; leave it out"
            )
    return given


def _compare(decided: dict[str, Any], config: Any) -> None:
    """Compare what the tensors decide with diffusers' `config.json`.

    Raises:
      CheckpointError: if they differ.
    """
    for name in ("block_out_channels", "layers_per_block", "in_channels"):
        found = decided[name]
        said = config.get(name, found)
        said = tuple(said) if isinstance(said, list) else said
        if said != found:
            raise CheckpointError(
                f"config.json says {name} {said!r:.60}, and the tensors have {found}"
            )


def _check(config: DDPMConfig) -> None:
    """Refuse settings that the network cannot be built or run with."""
    multiple = 2 ** (len(config.block_out_channels) - 1)
    side = config.image_size
    if side is not None and (side < 1 or side % multiple):
        raise CheckpointError(
            f"the image size must be a multiple of {multiple} for this network, got "
            f"{side}"
        )
    for channels in config.block_out_channels:
        if not config.norm_num_groups or channels % config.norm_num_groups:
            raise CheckpointError(
                f"{config.norm_num_groups} groups of norms do not divide the "
                f"{channels} channels of a level"
            )
    width = config.attention_head_dim
    levels = {*config.down_attention, *config.up_attention}
    if config.mid_attention:
        levels.add(len(config.block_out_channels) - 1)
        if config.mid_norm_groups and channels % config.mid_norm_groups:
            raise CheckpointError(
                f"{config.mid_norm_groups} groups do not divide {channels} channels"
            )
    for level in levels:
        channels = config.block_out_channels[level]
        if width is not None and (width < 1 or channels % width):
            raise CheckpointError(
                f"attention heads of width {width} do not divide the {channels} "
                "channels of a layer"
            )
    if config.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise CheckpointError(
            f"the network makes {config.out_channels} channels of "
            f"{config.in_channels}, so it does not predict the noise in an image"
        )
    if config.freq_shift >= config.block_out_channels[0] // 2:
        raise CheckpointError(f"freq_shift {config.freq_shift} is too large")
