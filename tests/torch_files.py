"""Files in PyTorch's formats, written byte by byte: no PyTorch, and any content."""

import functools
import io
import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np


class Name(NamedTuple):
    """A global name, which a reader would import."""

    module: str
    name: str


class Call(NamedTuple):
    """A call that a reader would make."""

    function: Name
    arguments: tuple


class Build(NamedTuple):
    """An object whose state a reader would set."""

    target: object
    state: object


class Persistent(NamedTuple):
    """A reference to something outside of the pickle."""

    pid: tuple


class Raw(NamedTuple):
    """Opcodes as they are."""

    code: bytes


def emit(value, views=False) -> bytes:
    """The opcodes that push a value, of pickle protocol 2.

    Args:
      value: of the types above, or plain.
      views: storages say which part of another one they are, as in legacy files.
    """
    push = functools.partial(emit, views=views)
    match value:
        case Raw(code):
            return code
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return push(function) + push(arguments) + b"R"
        case Build(target, state):
            return push(target) + push(state) + b"b"
        case Persistent(pid):
            if views and type(pid) is tuple and len(pid) == 5:
                pid = (*pid, None)
            return push(pid) + b"Q"
        case tuple():
            return b"(" + b"".join(map(push, value)) + b"t"
        case list():
            return b"](" + b"".join(map(push, value)) + b"e"
        case dict():
            pairs = (push(part) for item in value.items() for part in item)
            return b"}(" + b"".join(pairs) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def pickled(value, views=False) -> bytes:
    return b"\x80\x02" + emit(value, views) + b"."


STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
}


def tensor(key, array, size, offset=0, strides=None, device="cpu"):
    """How PyTorch writes a tensor: a view into a storage."""
    if strides is None:
        strides = tuple(s // array.itemsize for s in array.strides)
    kind = Name("torch", STORAGE_NAMES[array.dtype.name])
    storage = Persistent(("storage", kind, key, device, size))
    hooks = Call(Name("collections", "OrderedDict"), ())
    arguments = (storage, offset, array.shape, strides, False, hooks)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def flat_state(arrays, device="cuda:0"):
    """Tensors as views into one storage, and that storage's array."""
    flat = np.concatenate([a.ravel() for a in arrays.values()])
    state, offset = {}, 0
    for name, array in arrays.items():
        state[name] = tensor("0", array, flat.size, offset, device=device)
        offset += array.size
    return state, {"0": flat}


def legacy(state, storages) -> bytes:
    """A file as PyTorch wrote before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    header = [0x1950A86A20F9469CFC6C, 1001, system, state, list(storages)]
    parts = [pickled(part, views=True) for part in header]
    for array in storages.values():
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    return b"".join(parts)


def zipped(state, storages, root="archive", **members) -> bytes:
    """A file as PyTorch writes since 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{root}/data.pkl", pickled(state))
        archive.writestr(f"{root}/byteorder", "little")
        archive.writestr(f"{root}/version", "3\n")
        for key, array in storages.items():
            archive.writestr(f"{root}/data/{key}", array.tobytes())
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)
    return file.getvalue()


WRITERS = {"legacy": legacy, "zip": zipped}
