"""A pickle reader that can only rebuild tensors.

A pickle is a program for a stack machine, and can call any function that it names. This
machine implements only the instructions in PyTorch's weight files, and a name must be
in one of the tables below, or the file is refused. Nothing here imports modules, sets
attributes or calls anything from the file.
"""

import math
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from pigdm_convert.tensor import Refused


class Storage(NamedTuple):
    """A flat array in the file, or a part of one; all sizes in elements.

    Attributes:
      dtype: of its elements.
      key: the name of the whole array in the file.
      whole: number of elements in the whole array.
      start: first element of the part.
      size: number of elements in the part.
    """

    dtype: np.dtype
    key: str
    whole: int
    start: int
    size: int


class View(NamedTuple):
    """A tensor: a strided view of a flat array; all sizes in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


STORAGE_TYPES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}


def _ordered_dict(pairs: Any = ()) -> dict[str, Any]:
    """For collections.OrderedDict; usually empty, because its items follow later."""
    items: dict[str, Any] = {}
    for key, value in pairs:
        items[_checked_key(key)] = value
    return items


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
) -> View:
    """For torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    del rest  # requires_grad, hooks, metadata
    if not isinstance(storage, Storage) or not _are_sizes(offset, *shape, *strides):
        raise Refused("a tensor in it has a wrong description")
    if len(shape) != len(strides):
        raise Refused("a tensor in it does not have as many strides as axes")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count and (last >= storage.size or count > storage.size):
        raise Refused("a tensor in it extends beyond its storage")
    return View(storage, storage.start + offset, tuple(shape), tuple(strides))


def _ignored(*arguments: Any) -> dict[str, Any]:
    """For argparse.Namespace, a run's options beside its weights: nothing."""
    del arguments
    return {}


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    """For torch._utils._rebuild_parameter: the parameter's tensor."""
    del rest  # requires_grad, hooks
    return data


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "argparse.Namespace": _ignored,
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}


def unpickle(file: BytesIO, storages: dict[str, Storage] | None = None) -> Any:
    """Read the pickle at the file's position, and move to its end.

    Args:
      file: the file.
      storages: filled with the whole storages that the pickle refers to, by key.

    Raises:
      Refused: if the pickle is damaged or contains anything but tensors.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.run(opcode.name, argument)
        if storages is not None:
            storages |= machine.storages
        return machine.pop()
    except Refused:
        raise
    except Exception as error:
        # Operations on a damaged pickle's values may raise any exception.
        raise Refused(f"its pickle is damaged ({type(error).__name__})") from None


_MARK = object()

_CONSTANTS: dict[str, Any] = {
    "MARK": _MARK,
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINSTRING", "SHORT_BINSTRING"),  # strings of Python 2
}


class _Machine:
    """The pickle machine: its stack, its memo and its instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def pop(self) -> Any:
        """Remove and return the top of the stack."""
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Remove the last mark and all above it; returns the items above."""
        items: list[Any] = []
        while (item := self.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def run(self, name: str, argument: Any) -> None:
        """Execute one instruction, by its name in `pickletools`.

        It is longer than other functions because each instruction is a case of its own.
        """
        push = self.stack.append
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in _CONSTANTS:
                push(_CONSTANTS[name])
            case _ if name in _LITERALS:
                push(argument)
            case "EMPTY_DICT":
                push({})
            case "EMPTY_LIST":
                push([])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.pop() for _ in range(int(name[-1]))]
                push(tuple(items[::-1]))
            case "TUPLE":
                push(tuple(self.pop_to_mark()))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "APPEND":
                self.extend([self.pop()])
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self.update([key, value])
            case "SETITEMS":
                self.update(self.pop_to_mark())
            case "GLOBAL":
                push(_find(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = self.pop(), self.pop()
                push(_find(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.pop(), self.pop()
                if function not in FUNCTIONS.values():
                    raise Refused("it calls something that is not a function")
                push(function(*arguments))
            case "BUILD":
                self.pop()
                # The attributes of an OrderedDict (versions of layers) and of a run's
                # options are ignored.
                if not isinstance(self.stack[-1], dict):
                    raise Refused("it sets attributes of something that has none")
            case "BINPERSID":
                push(self.storage(self.pop()))
            case _:
                what = f"{name} {argument}" if isinstance(argument, str) else name
                raise Refused(
                    f"it uses the pickle instruction {what}, which does not belong in "
                    "a weight file (nothing was run)"
                )

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise Refused("it appends to something that is not a list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Add alternating keys and values to the dictionary on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("it adds items to something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value

    def storage(self, pid: Any) -> Storage:
        """A storage, from the tuple that represents it in the file."""
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(whole), *rest):
                pass
            case _:
                raise Refused(
                    "it refers to something that is not a storage of a tensor"
                )
        start, size = 0, whole
        match rest:
            case [] | [None]:
                pass
            case [(_, start, size)]:  # A part of a storage, in old files.
                pass
            case _:
                raise Refused("a storage in it has a wrong description")
        if not _are_sizes(whole, start, size) or start + size > whole:
            raise Refused("a storage in it has a wrong description")
        entire = Storage(dtype, key, whole, 0, whole)
        if self.storages.setdefault(key, entire) != entire:
            raise Refused(f"its storage {key} has two types or sizes")
        return Storage(dtype, key, whole, start, size)


def _find(name: str) -> Any:
    """The entry of a dotted name in the tables.

    Raises:
      Refused: if there is none.
    """
    if name in STORAGE_TYPES:
        return STORAGE_TYPES[name]
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise Refused(
        f"it refers to {name}, which does not belong in a weight file (nothing was "
        "run); save the network's state_dict() alone"
    )


def _checked_key(key: Any) -> Any:
    """A dictionary's key, which must be a string or a number.

    Hashing a deeply nested tuple would overflow Python's stack.
    """
    if not isinstance(key, str | int | float | None):
        raise Refused("a dictionary in it has a key that is not a name")
    return key


def _are_sizes(*numbers: Any) -> bool:
    """Whether all are whole numbers from 0 to a size that a file can have."""
    return all(type(n) is int and 0 <= n < 2**60 for n in numbers)
