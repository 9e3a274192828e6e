"""Conversion of names from PyTorch to `pigdm_jax.networks.pixel_transformer`."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from pigdm_jax.networks import keys
from pigdm_jax.networks.base import Shapes
from pigdm_jax.networks.pixel_transformer.transformer import PixelTransformer


def torch_key(path: keys.Path) -> str:
    """PyTorch's name of a parameter.

    Numbers are joined to the name before them: `blocks_4` / `attn` / `qkv` / `kernel`
    is `blocks.4.attn.qkv.weight`. Tables of positions belong to no layer.
    """
    *modules, leaf = path
    if not modules:
        return leaf
    names = [re.sub(r"_(?=\d)", ".", module) for module in modules]
    return ".".join([*names, "bias" if leaf == "bias" else "weight"])


def check_names(shapes: Shapes, network: PixelTransformer) -> None:
    """Compare the tensors of a checkpoint with those of a network.

    Raises:
      CheckpointError: that names every tensor that is missing, superfluous or of
        another shape.
    """
    keys.check_names(shapes, keys.places(network, torch_key))


def to_params(
    tensors: Iterable[tuple[str, np.ndarray]], network: PixelTransformer
) -> Any:
    """The parameters of a network on the CPU, from arrays by PyTorch's names."""
    return keys.to_params(tensors, keys.places(network, torch_key))
