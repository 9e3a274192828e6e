"""Reading PyTorch's two file formats, zip and legacy."""

import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from pigdm_convert.state import Weights, select
from pigdm_convert.tensor import Refused, Tensor
from pigdm_convert.unpickler import Storage, View, unpickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001

# Largest size of a pickle. It has only names and shapes, about 100 kB in the largest
# public checkpoints. Time and memory of reading it are proportional to its size.
LARGEST_PICKLE = 2**20

# By storage: position of its numbers in the file, and their size in bytes.
Places = Mapping[str, tuple[int, int]]


def read_zip(path: Path) -> Weights:
    """The tensors of a file in the format of PyTorch 1.6 and later.

    Raises:
      Refused: if it is damaged or holds no state dict.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = _check_members(archive)
            damaged = archive.testzip()
            if damaged is not None:
                raise Refused(f"it is damaged at {damaged}")
            file = cast(BufferedIOBase, archive.fp)
            start, length = _place(file, archive.getinfo(f"{root}data.pkl"))
            file.seek(start)
            state = unpickle(BytesIO(file.read(length)))
            places = {
                info.filename.removeprefix(f"{root}data/"): _place(file, info)
                for info in archive.infolist()
                if info.filename.startswith(f"{root}data/")
            }
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise Refused("it is a zip file that is damaged or not whole") from error
    return _tensors(path, state, places)


def _check_members(archive: zipfile.ZipFile) -> str:
    """Check the members of an archive before reading; the folder of its `data.pkl`."""
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1 or len(members) != len(archive.infolist()):
        raise Refused("it is a zip file, but not one of PyTorch's")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith(f"{root}code/") for name in members):
        raise Refused("it is a TorchScript program; save the network's state_dict()")
    if any(info.compress_type for info in members.values()):
        raise Refused("it is compressed, which PyTorch's files are not")
    if any(info.compress_size != info.file_size for info in members.values()):
        raise Refused("it is a zip file that is damaged or not whole")
    if members[pickles[0]].file_size > LARGEST_PICKLE:
        raise Refused("its table of contents is too large for a state dict")
    order = members.get(f"{root}byteorder")
    if order is not None and (order.file_size > 9 or archive.read(order) != b"little"):
        raise Refused("its numbers are big-endian")
    return root


def _place(file: BufferedIOBase, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Position and size in bytes of an uncompressed member."""
    file.seek(info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + name_length + extra_length, info.file_size


def read_legacy(path: Path) -> Weights:
    """The tensors of a file in the format before PyTorch 1.6: pickles, then numbers.

    Raises:
      Refused: if it is damaged or holds no state dict.
    """
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        head = BytesIO(file.read(min(end, LARGEST_PICKLE)))
        if unpickle(head) != LEGACY_MAGIC:
            raise Refused("it is a pickle, but not one of PyTorch's")
        if unpickle(head) != LEGACY_VERSION:
            raise Refused("it has an unknown version of PyTorch's format")
        system = unpickle(head)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Refused("its numbers are big-endian")
        storages: dict[str, Storage] = {}
        state = unpickle(head, storages)
        keys = unpickle(head)
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise Refused("its list of storages is damaged")
        file.seek(head.tell())
        places = {}
        for key in keys:
            if key not in storages:
                raise Refused(f"its storage {key} belongs to no tensor")
            count = file.read(8)
            length = storages[key].whole * storages[key].dtype.itemsize
            if len(count) < 8 or file.tell() + length > end:
                raise Refused("it is not whole")
            if struct.unpack("<q", count)[0] != storages[key].whole:
                raise Refused(f"its storage {key} is not as large as its tensors say")
            places[key] = (file.tell(), length)
            file.seek(length, os.SEEK_CUR)
    return _tensors(path, state, places)


def _tensors(path: Path, state: Any, places: Places) -> Weights:
    """The tensors of a state dict, given the places of their storages."""
    views, notes = select(state)
    tensors = {}
    for name, view in views.items():
        storage = view.storage
        start, length = places.get(storage.key, (0, -1))
        if length < storage.whole * storage.dtype.itemsize:
            raise Refused(f"the numbers of {name} are missing")
        tensors[name] = Tensor(view.shape, storage.dtype, _reader(path, start, view))
    return Weights(tensors, notes)


def _reader(path: Path, start: int, view: View) -> Callable[[], np.ndarray]:
    """A function that reads a view, from its first element to its last."""

    def read() -> np.ndarray:
        _, offset, shape, strides = view
        dtype = view.storage.dtype
        if not math.prod(shape):
            return np.zeros(shape, dtype)
        span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        with path.open("rb") as file:
            file.seek(start + offset * dtype.itemsize)
            content = file.read(span * dtype.itemsize)
        if len(content) < span * dtype.itemsize:
            raise Refused("it became shorter while it was read")
        flat = np.frombuffer(content, dtype)
        steps = [s * dtype.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)

    return read
