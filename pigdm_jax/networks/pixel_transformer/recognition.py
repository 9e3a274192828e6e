"""The configuration of a JiT from the names and shapes of its tensors."""

import dataclasses
import itertools
import math
from typing import Any

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.adm.flags import CheckpointFlags
from pigdm_jax.networks.base import Documents, Recognised, Shapes
from pigdm_jax.networks.keys import inferring
from pigdm_jax.networks.pixel_transformer.transformer import (
    PixelTransformer,
    PixelTransformerConfig,
)

# The public sizes, by depth, width and heads, and the noise in the training of the
# public checkpoints, by image and patch size.
SIZES = {(12, 768, 12): "B", (24, 1024, 16): "L", (32, 1280, 16): "H"}
NOISE_SCALES = {(256, 16): 1.0, (512, 32): 2.0}


def recognise(
    shapes: Shapes, flags: CheckpointFlags, documents: Documents | None = None
) -> Recognised:
    """The configuration that follows from shapes.

    Shapes leave two settings open: the block before which class tokens join, a third of
    the depth in all public networks, and the standard deviation of the noise in
    training. Both are among the assumptions.

    The schedule is that of the images which the prior is given, and free: a network
    trained by flow matching takes any ratio of image and noise. By the linear one it is
    evaluated at flow times t from 0.006 to 0.990. JiT was trained with logit(t) from
    N(-0.8, 0.8^2), which has 1e-7 of its mass beyond these; steps nearer to t = 0 would
    ask for times that it has hardly seen, and divide by sqrt(alpha_bar) of less than
    0.006.

    Args:
      shapes: of the checkpoint's tensors.
      flags: `schedule` and `image_size`; the others are for other architectures.
      documents: not used.

    Raises:
      CheckpointError: if they are not a JiT's, or a flag contradicts them or has no
        effect.
    """
    del documents
    decided = _infer(shapes)
    known = _known(decided)
    start = decided["depth"] // 3
    noise = NOISE_SCALES.get((decided["image_size"], decided["patch_size"]), 1.0)
    config = PixelTransformerConfig(
        **decided, in_context_start=start, noise_scale=noise
    )
    _check_flags(flags, config)
    assumptions = [f"noise of standard deviation {noise:g} in training"]
    if config.in_context_len:
        assumptions.append(f"class tokens join before block {start}")
    return Recognised(
        PixelTransformer(config),
        flags.schedule or "linear",
        () if known is None else (known,),
        tuple(assumptions),
        (),
        predicts="x0",
        flow=True,
    )


def _infer(shapes: Shapes) -> dict[str, Any]:
    """The arguments of `PixelTransformerConfig` that shapes determine.

    Raises:
      CheckpointError: if they are not a JiT's.
    """
    with inferring("a JiT", shapes):
        return _sizes(shapes)


def _sizes(shapes: Shapes) -> dict[str, Any]:
    """As `_infer`; raises KeyError with the name of a missing tensor."""
    width = shapes["blocks.0.attn.qkv.weight"][1]
    head = shapes["blocks.0.attn.q_norm.weight"][0]
    if width % head or head % 4:
        raise ValueError(f"heads of {head} channels do not fit tokens of {width}")
    bottleneck, channels, patch = shapes["x_embedder.proj1.weight"][:3]
    patches = shapes["pos_embed"][1]
    side = math.isqrt(patches)
    if side**2 != patches:
        raise ValueError(f"its {patches} patches do not make a square image")
    labels = shapes["y_embedder.embedding_table.weight"][0]
    if labels < 2:
        raise ValueError("it has one label, which is that for no class")
    names = (f"blocks.{i}.attn.qkv.weight" for i in itertools.count())
    return {
        "image_size": side * patch,
        "patch_size": patch,
        "hidden_size": width,
        "depth": sum(1 for _ in itertools.takewhile(shapes.__contains__, names)),
        "num_heads": width // head,
        "mlp_size": shapes["blocks.0.mlp.w3.weight"][1],
        "bottleneck_dim": bottleneck,
        "num_classes": labels - 1,
        "in_channels": channels,
        "in_context_len": shapes.get("in_context_posemb", (1, 0))[1],
    }


def _known(decided: dict[str, Any]) -> str | None:
    """The public checkpoint that has these sizes, as its authors call it."""
    form = tuple(decided[name] for name in ("depth", "hidden_size", "num_heads"))
    size, patch = decided["image_size"], decided["patch_size"]
    rest = {
        "bottleneck_dim": 256 if SIZES.get(form) == "H" else 128,
        "num_classes": 1000,
        "in_channels": 3,
        "in_context_len": 32,
        "mlp_size": 8 * decided["hidden_size"] // 3,
    }
    if (
        form not in SIZES
        or (size, patch) not in NOISE_SCALES
        or rest != {name: decided[name] for name in rest}
    ):
        return None
    return f"JiT-{SIZES[form]}/{patch}"


def _check_flags(flags: CheckpointFlags, config: PixelTransformerConfig) -> None:
    """Refuse flags that contradict the tensors or have no effect.

    Raises:
      CheckpointError: that names the flag.
    """
    if flags.image_size not in (None, config.image_size):
        raise CheckpointError(
            f"--image-size {flags.image_size} contradicts the tensors, which are for "
            f"images of {config.image_size} x {config.image_size} pixels"
        )
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if value is not None and field.name not in ("image_size", "schedule"):
            name = "--" + field.name.replace("_", "-")
            raise CheckpointError(
                f"{name} has no effect on a JiT, whose tensors determine its attention"
            )
