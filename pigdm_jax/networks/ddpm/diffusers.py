"""The settings in diffusers' `config.json` and `scheduler_config.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pigdm_convert.reader import CheckpointError

MOST_STEPS = 10**5
# Settings that the network has, diffusers' defaults, and the types of their values.
SETTINGS: dict[str, tuple[Any, tuple[type, ...]]] = {
    "attention_head_dim": (8, (int, type(None))),
    "norm_num_groups": (32, (int,)),
    "norm_eps": (1e-5, (float, int)),
    "downsample_padding": (1, (int,)),
    "flip_sin_to_cos": (True, (bool,)),
    "freq_shift": (0, (int,)),
}
# Of these the network has only one kind; the first is diffusers' default.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DModel",),
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None,),
    "downsample_padding": (1, 0),
}
BLOCKS = ("DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D")
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
SCHEDULERS = (
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("HeunDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("DPMSolverSinglestepScheduler", "UniPCMultistepScheduler"),
    *("DEISMultistepScheduler",),
)


def network_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `DDPMConfig` that tensors do not determine.

    Args:
      config: diffusers' `config.json` of a `UNet2DModel`.

    Raises:
      CheckpointError: if it is of a network of another kind.
    """
    for name, supported in SUPPORTED.items():
        value = config.get(name, supported[0])
        if value not in supported:
            raise CheckpointError(
                f"config.json has {name} {value!r:.60}, and the DDPM UNet here has "
                f"{' or '.join(map(repr, supported))}"
            )
    for way in ("down_block_types", "up_block_types"):
        value = config.get(way, [])
        if not isinstance(value, list) or not all(kind in BLOCKS for kind in value):
            raise CheckpointError(
                f"config.json has {way} {value!r:.200}, and the DDPM UNet here has "
                f"{', '.join(BLOCKS)}"
            )
    settings = {}
    for name, (default, kinds) in SETTINGS.items():
        value = config.get(name, default)
        if type(value) not in kinds or (type(value) is int and value < 0):
            raise CheckpointError(f"config.json has {name} {value!r:.60}")
        settings[name] = float(value) if name == "norm_eps" else value
    groups = config.get("attn_norm_num_groups")
    if groups is None and config.get("resnet_time_scale_shift") == "scale_shift":
        groups = 0
    elif groups is None:
        groups = settings["norm_num_groups"]
    if type(groups) is not int:
        raise CheckpointError(f"config.json has attn_norm_num_groups {groups!r:.60}")
    return settings | {"mid_norm_groups": groups, "image_size": _side(config)}


def _side(config: Mapping[str, Any]) -> int | None:
    """The side of the training images, if they are square and it is known."""
    size = config.get("sample_size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    return size if type(size) is int and size > 0 else None


def noise_settings(scheduler: Mapping[str, Any]) -> tuple[str | tuple[float, ...], str]:
    """The schedule ("linear", "cosine" or betas), and what the network predicts.

    Args:
      scheduler: diffusers' `scheduler_config.json`.

    Raises:
      CheckpointError: if it is of a scheduler of another kind.
    """
    kind = scheduler.get("_class_name", SCHEDULERS[0])
    if kind not in SCHEDULERS:
        raise CheckpointError(
            f"scheduler_config.json is of a {kind!r:.60}; a DDPM's is a "
            f"{' or '.join(SCHEDULERS[:3])}"
        )
    if scheduler.get("rescale_betas_zero_snr"):
        raise CheckpointError(
            "scheduler_config.json rescales betas to no signal, and a schedule here "
            "has some signal at each step"
        )
    prediction = scheduler.get("prediction_type", "epsilon")
    if not isinstance(prediction, str) or prediction not in PREDICTIONS:
        raise CheckpointError(
            f"scheduler_config.json has prediction_type {prediction!r:.60}, not "
            f"{' or '.join(PREDICTIONS)}"
        )
    return _schedule(scheduler), PREDICTIONS[prediction]


def _schedule(scheduler: Mapping[str, Any]) -> str | tuple[float, ...]:
    given = scheduler.get("trained_betas")
    if given is not None:
        return _checked(given)
    steps = scheduler.get("num_train_timesteps", 1000)
    first = scheduler.get("beta_start", 1e-4)
    last = scheduler.get("beta_end", 0.02)
    if type(steps) is not int or not 0 < steps <= MOST_STEPS:
        raise CheckpointError(
            f"scheduler_config.json has num_train_timesteps {steps!r:.60}"
        )
    _checked([first, last])
    match scheduler.get("beta_schedule", "linear"):
        case "linear":
            if (steps, first, last) == (1000, 1e-4, 0.02):
                return "linear"
            return tuple(np.linspace(first, last, steps).tolist())
        case "scaled_linear":
            return tuple((np.linspace(first**0.5, last**0.5, steps) ** 2).tolist())
        case "squaredcos_cap_v2" if steps == 1000:
            return "cosine"
        case other:
            raise CheckpointError(
                f"scheduler_config.json has beta_schedule {other!r:.60} with {steps} "
                "steps, and known are linear, scaled_linear and, with 1000 steps, "
                "squaredcos_cap_v2"
            )


def _checked(betas: Any) -> tuple[float, ...]:
    """The betas.

    Raises:
      CheckpointError: if they are not numbers between 0 and 1.
    """
    if (
        not isinstance(betas, list)
        or not 0 < len(betas) <= MOST_STEPS
        or not all(type(b) in (int, float) and 0 < b < 1 for b in betas)
    ):
        raise CheckpointError(
            f"scheduler_config.json has betas {betas!r:.60}, not numbers in (0, 1)"
        )
    return tuple(map(float, betas))
