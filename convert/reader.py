"""Tensors by name, from the files that PyTorch and safetensors write.

Nothing is loaded before it is asked for: a tensor is read from its place in the file.
"""

import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pigdm_convert.unpickler import Refused, View, unpickle

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# A state dict's own pickle holds names and shapes alone.
LARGEST_PICKLE = 2**26


class CheckpointError(ValueError):
    """A checkpoint that cannot be converted; one sentence says why."""


class Tensor(NamedTuple):
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


class Checkpoint(NamedTuple):
    """The tensors of a file, and which of the formats it has."""

    tensors: dict[str, Tensor]
    format: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a .pt, .pth or .safetensors file that holds a plain state dict.

    Raises:
      CheckpointError: if the file is anything else, or not whole.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if path.suffix == ".safetensors":
            return Checkpoint(_read_safetensors(path), "safetensors")
        if start.startswith(ZIP_MAGIC):
            return Checkpoint(_read_zip(path), "PyTorch zip")
        if start.startswith(b"\x80"):
            return Checkpoint(_read_legacy(path), "PyTorch legacy")
        raise Refused("it is in none of the formats that PyTorch or safetensors write")
    except Refused as reason:
        raise CheckpointError(f"{path} is not converted: {reason}") from None


def _read_zip(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1 or len(members) != len(archive.infolist()):
                raise Refused("it is a zip file, but not one of PyTorch's")
            root = pickles[0].removesuffix("data.pkl")
            if any(name.startswith(f"{root}code/") for name in members):
                raise Refused(
                    "it is a TorchScript program; save the network's state_dict()"
                )
            if any(info.compress_type for info in members.values()):
                raise Refused("it is compressed, which PyTorch's files are not")
            order = members.get(f"{root}byteorder")
            if order is not None and archive.read(order) != b"little":
                raise Refused("its numbers are big-endian")
            if members[pickles[0]].file_size > LARGEST_PICKLE:
                raise Refused("its table of contents is too large")
            damaged = archive.testzip()
            if damaged is not None:
                raise Refused(f"it is damaged at {damaged}")
            with archive.open(pickles[0]) as file:
                state = unpickle(file)
            places = {
                name.removeprefix(f"{root}data/"): _data_start(archive.fp, info)
                for name, info in members.items()
                if name.startswith(f"{root}data/")
            }
    except (zipfile.BadZipFile, EOFError, OSError, struct.error, RuntimeError):
        raise Refused("it is a zip file that is not whole") from None
    return _tensors(path, state, places)


def _data_start(file: BufferedIOBase, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where an uncompressed member's bytes begin, and how many there are."""
    file.seek(info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + name_length + extra_length, info.file_size


def _read_legacy(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        if unpickle(file) != LEGACY_MAGIC:
            raise Refused("it is a pickle, but not one of PyTorch's")
        if unpickle(file) != 1001:
            raise Refused("it is of a version of PyTorch's format that is not known")
        system = unpickle(file)
        if not isinstance(system, dict) or not system.get("little_endian"):
            raise Refused("its numbers are big-endian")
        state = unpickle(file)
        keys = unpickle(file)
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise Refused("it is damaged")
        dtypes = {
            view.storage.key: view.storage.dtype
            for view in _views(state).values()
            if isinstance(view, View)
        }
        end = os.fstat(file.fileno()).st_size
        places = {}
        for key in keys:
            header = file.read(8)
            if len(header) < 8:
                raise Refused("it is not whole")
            if key not in dtypes:
                raise Refused(f"its storage {key} belongs to no tensor")
            bytes_ = struct.unpack("<q", header)[0] * dtypes[key].itemsize
            if bytes_ < 0 or file.tell() + bytes_ > end:
                raise Refused("it is not whole")
            places[key] = (file.tell(), bytes_)
            file.seek(bytes_, os.SEEK_CUR)
    return _tensors(path, state, places)


def _views(state: Any) -> Mapping[str, Any]:
    """The state dict, if it is one."""
    if isinstance(state, Mapping) and all(isinstance(key, str) for key in state):
        nested = [key for key, value in state.items() if isinstance(value, Mapping)]
        if nested:
            raise Refused(
                f"its weights lie inside of {', '.join(nested)}; load it in PyTorch "
                f"and save checkpoint[{nested[0]!r}] alone"
            )
        if state and all(isinstance(value, View) for value in state.values()):
            return state
        others = [key for key, value in state.items() if not isinstance(value, View)]
        if others:
            raise Refused(f"it holds more than tensors: {', '.join(others)}")
    raise Refused("it is no state dict of tensors by name")


def _tensors(
    path: Path, state: Any, places: Mapping[str, tuple[int, int]]
) -> dict[str, Tensor]:
    tensors = {}
    for name, view in _views(state).items():
        storage = view.storage
        start, length = places.get(storage.key, (0, -1))
        if length < storage.size * storage.dtype.itemsize:
            raise Refused(f"the numbers of {name} are missing")
        tensors[name] = Tensor(view.shape, storage.dtype, _reader(path, start, view))
    return tensors


def _reader(path: Path, start: int, view: View) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        _, offset, shape, strides = view
        dtype = view.storage.dtype
        if not math.prod(shape):
            return np.zeros(shape, dtype)
        span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        with path.open("rb") as file:
            file.seek(start + offset * dtype.itemsize)
            flat = np.frombuffer(file.read(span * dtype.itemsize), dtype)
        steps = [s * dtype.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)

    return read


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        import safetensors
    except ImportError:
        raise Refused(
            "reading .safetensors needs `pip install 'pigdm-jax[convert]'`"
        ) from None
    tensors = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():
                part = file.get_slice(name)
                dtype = _SAFETENSORS_TYPES[part.get_dtype()]
                read = _safetensors_reader(path, name)
                tensors[name] = Tensor(tuple(part.get_shape()), dtype, read)
    except KeyError as error:
        raise Refused(f"its tensors are of the type {error}") from None
    except (safetensors.SafetensorError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise Refused(f"it is no whole safetensors file ({reason})") from None
    return tensors


_SAFETENSORS_TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
}


def _safetensors_reader(path: Path, name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        import safetensors

        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return read
