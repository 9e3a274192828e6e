"""The settings that the shapes of a DDPM UNet's tensors determine."""

from collections.abc import Callable
from typing import Any

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.base import LONGEST, Shapes
from pigdm_jax.networks.ddpm.keys import torch_names
from pigdm_jax.networks.keys import inferring


def infer(shapes: Shapes, layout: str) -> dict[str, Any]:
    """The arguments of `DDPMConfig` that shapes determine.

    Args:
      shapes: of the checkpoint's tensors.
      layout: of their names, one of `keys.LAYOUTS`.

    Raises:
      CheckpointError: if they are not a DDPM UNet's.
    """
    with inferring("a DDPM UNet", shapes):
        return _infer(shapes, layout)


def _infer(shapes: Shapes, layout: str) -> dict[str, Any]:
    """As `infer`; raises KeyError with the name of a missing tensor."""
    # Levels are numbered from the other end on the way up, so they are counted first.
    levels = _count(shapes, torch_names(layout, 0), "down_{}_block_0")
    torch_key = torch_names(layout, levels)

    def shape(*path: str) -> tuple[int, ...]:
        return shapes[torch_key((*path, "kernel"))]

    def has(*path: str) -> bool:
        return torch_key((*path, "kernel")) in shapes

    channels = [shape(f"down_{i}_block_0", "conv1")[0] for i in range(max(levels, 1))]
    embedding = shape("down_0_block_0", "temb_proj")[0]
    return {
        "block_out_channels": tuple(channels),
        "layers_per_block": _count(shapes, torch_key, "down_0_block_{}"),
        "down_attention": tuple(
            i for i in range(levels) if has(f"down_{i}_attn_0", "q")
        ),
        "up_attention": tuple(i for i in range(levels) if has(f"up_{i}_attn_0", "q")),
        "in_channels": shape("conv_in")[1],
        "out_channels": shape("conv_out")[0],
        "num_classes": shape("label_emb")[0] if has("label_emb") else None,
        "mid_attention": has("mid_attn_1", "q"),
        "scale_shift": embedding == 2 * channels[0],
    }


def _count(shapes: Shapes, torch_key: Callable[..., str], block: str) -> int:
    """How many blocks there are, numbered from 0.

    Raises:
      CheckpointError: if there are more than any network has.
    """
    for i in range(len(shapes)):
        if torch_key((block.format(i), "conv1", "kernel")) not in shapes:
            break
    if i > LONGEST:
        raise CheckpointError(f"a network has at most {LONGEST} levels and blocks")
    return i
