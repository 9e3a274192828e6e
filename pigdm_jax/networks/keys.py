"""Names and layouts of PyTorch's tensors, compared with and mapped to parameters."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from pigdm_convert.reader import CheckpointError
from pigdm_jax.networks.base import Network, Shapes, parameter_shapes

Path = tuple[str, ...]


class Place(NamedTuple):
    """Where a tensor belongs in the parameters.

    Attributes:
      path: the path of the parameter.
      shape: its shape.
    """

    path: Path
    shape: tuple[int, ...]


def torch_key(path: Path) -> str:
    """PyTorch's name of a parameter whose layers are named as PyTorch's.

    Numbers are joined to the name before them: `blocks_4` / `attn` / `qkv` / `kernel`
    is `blocks.4.attn.qkv.weight`. A parameter of no layer has its own name.
    """
    *modules, leaf = path
    if not modules:
        return leaf
    names = [re.sub(r"_(?=\d)", ".", module) for module in modules]
    return ".".join([*names, "bias" if leaf == "bias" else "weight"])


@contextmanager
def inferring(network: str, shapes: Shapes) -> Iterator[None]:
    """Turn what missing and odd tensors raise into CheckpointError.

    Args:
      network: what the tensors should be, with its article.
      shapes: of the checkpoint's tensors.

    Raises:
      CheckpointError: in place of KeyError with the name of a missing tensor,
        IndexError, or ValueError with the reason; or if a tensor has no elements.
    """
    empty = [key for key, shape in shapes.items() if 0 in shape]
    if empty:
        raise CheckpointError(f"tensors have no elements: {', '.join(empty)}")
    try:
        yield
    except CheckpointError:
        raise
    except KeyError as error:
        reason = f"there is no {error.args[0]}, while there is {next(iter(shapes))}"
    except IndexError:
        reason = "a tensor has too few axes"
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise CheckpointError(f"the tensors are not those of {network} ({reason})")


@functools.lru_cache(maxsize=8)
def _parameters(network: Network) -> tuple[Place, ...]:
    """The places of all parameters; tracing a large network takes seconds."""
    leaves = jax.tree.leaves_with_path(parameter_shapes(network))
    return tuple(
        Place(tuple(entry.key for entry in path), leaf.shape) for path, leaf in leaves
    )


def places(network: Network, torch_key: Callable[[Path], str]) -> dict[str, Place]:
    """The place of every tensor of a network, by PyTorch's names.

    Args:
      network: the network.
      torch_key: PyTorch's name of the parameter at a path.
    """
    return {torch_key(place.path): place for place in _parameters(network)}


def flax_layout(array: np.ndarray, place: Place) -> np.ndarray:
    """An array with output channels last: HWIO of OIHW, (in, out) of (out, in).

    PyTorch may store a matrix as a convolution with one tap, (out, in, 1) or
    (out, in, 1, 1).
    """
    if place.path[-1] != "kernel":
        return array
    if len(place.shape) == 2 and array.shape[2:] in ((1,), (1, 1)):
        array = array.reshape(array.shape[:2])
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def check_names(shapes: Shapes, expected: Mapping[str, Place]) -> None:
    """Compare the tensors of a checkpoint with those of a network.

    Args:
      shapes: shapes of the checkpoint's tensors, by name.
      expected: the network's `places`.

    Raises:
      CheckpointError: that names every tensor that is missing, superfluous or of
        another shape.
    """
    misshaped = []
    for key, place in expected.items():
        if key in shapes:
            stand_in = np.broadcast_to(np.int8(0), shapes[key])
            if flax_layout(stand_in, place).shape != place.shape:
                misshaped.append(f"{key} {shapes[key]}")
    problems = {
        "missing": [key for key in expected if key not in shapes],
        "not part of it": [key for key in shapes if key not in expected],
        "of another shape": misshaped,
    }
    found = [f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            "the tensors are not those of the network they imply; " + "; ".join(found)
        )


def to_params(
    tensors: Iterable[tuple[str, np.ndarray]], expected: Mapping[str, Place]
) -> Any:
    """The parameters of a network on the CPU, from arrays by PyTorch's names.

    A generator of tensors is consumed one by one, so that one array is in memory twice.

    Args:
      tensors: names and arrays, as `check_names` accepts them.
      expected: the network's `places`.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    params: dict[str, Any] = {}
    for key, array in tensors:
        place = expected[key]
        inner = params
        for part in place.path[:-1]:
            inner = inner.setdefault(part, {})
        inner[place.path[-1]] = jax.device_put(flax_layout(array, place), cpu)
    return params
