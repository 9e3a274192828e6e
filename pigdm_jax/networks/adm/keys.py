"""Conversion of names and layouts from PyTorch to `pigdm_jax.networks.adm`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.adm.unet import UNet
from pigdm_jax.networks.base import parameter_shapes

Path = tuple[str, ...]


def flax_path(key: str, ndim: int) -> Path:
    """The path of a PyTorch tensor in the parameters.

    Numbers are joined to the name before them: `input_blocks.4.1.qkv.weight` becomes
    `input_blocks_4_1` / `qkv` / `kernel`.
    """
    *modules, leaf = key.split(".")
    path: list[str] = []
    for module in modules:
        if module.isdigit() and path:
            path[-1] += f"_{module}"
        else:
            path.append(module)
    if leaf == "weight":
        if path == ["label_emb"]:
            leaf = "embedding"
        else:
            leaf = "scale" if ndim == 1 else "kernel"
    return (*path, leaf)


def torch_key(path: Path) -> str:
    """PyTorch's name of a parameter; inverts `flax_path`."""
    *modules, leaf = path
    names = [re.sub(r"_(?=\d)", ".", module) for module in modules]
    return ".".join([*names, "bias" if leaf == "bias" else "weight"])


def flax_layout(path: Path, array: np.ndarray) -> np.ndarray:
    """An array with output channels last: HWIO of OIHW, (in, out) of (out, in[, 1])."""
    if path[-1] != "kernel":
        return array
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array.T


def check_names(shapes: Mapping[str, tuple[int, ...]], network: UNet) -> None:
    """Compare the tensors of a checkpoint with those of a network.

    Raises:
      CheckpointError: that names every tensor that is missing, superfluous or of
        another shape.
    """
    leaves = jax.tree_util.tree_leaves_with_path(parameter_shapes(network))
    paths = {tuple(k.key for k in path): leaf.shape for path, leaf in leaves}
    expected = {torch_key(path): (path, shape) for path, shape in paths.items()}
    missing = [key for key in expected if key not in shapes]
    unused = [key for key in shapes if key not in expected]
    misshaped = []
    for key, (path, shape) in expected.items():
        if key in shapes:
            stand_in = np.broadcast_to(np.int8(0), shapes[key])
            if flax_layout(path, stand_in).shape != shape:
                misshaped.append(f"{key} {shapes[key]}")
    problems = {
        "missing": missing,
        "not part of it": unused,
        "of another shape": misshaped,
    }
    found = [f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            "the tensors are not those of the network they imply; " + "; ".join(found)
        )


def to_params(tensors: Iterable[tuple[str, np.ndarray]]) -> Any:
    """The parameters of a UNet on the CPU, from arrays by PyTorch's names.

    A generator of tensors is consumed one by one, so that one array is in memory twice.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    params: dict[str, Any] = {}
    for key, array in tensors:
        path = flax_path(key, array.ndim)
        place = params
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = jax.device_put(flax_layout(path, array), cpu)
    return params
