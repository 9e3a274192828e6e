"""A pickle reader that rebuilds tensors and can do nothing else.

A pickle is a program for a stack machine, which may name any function and have it
called. This machine knows only the instructions that PyTorch's weight files consist
of; a name leads to one of the few entries in the tables below, or the file is refused.
There is nothing here that imports, sets attributes or calls what a file brings along.
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
    """A flat array in the file, or a part of one, in elements.

    Attributes:
      dtype: of its elements.
      key: what the file calls the whole array.
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
    """A tensor: a strided view into a flat array, all in elements."""

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
    """For collections.OrderedDict; usually empty, its items follow in the pickle."""
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
        raise Refused("a tensor in it is described wrongly")
    if len(shape) != len(strides):
        raise Refused("a tensor in it has more strides than axes, or fewer")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count and (last >= storage.size or count > storage.size):
        raise Refused("a tensor in it reaches out of its storage")
    return View(storage, storage.start + offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    """For torch._utils._rebuild_parameter: the parameter's tensor."""
    del rest  # requires_grad, hooks
    return data


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}


def unpickle(file: BytesIO) -> Any:
    """The object of the pickle that starts here; the file is left at its end.

    Raises:
      Refused: if the pickle is damaged or asks for anything but tensors.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.run(opcode.name, argument)
        return machine.pop()
    except Refused:
        raise
    except Exception as error:
        # A broken pickle raises whatever the operation that it broke raises.
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
}


class _Machine:
    """The stack and the memo of a pickle, and what instructions do to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[np.dtype, int]] = {}

    def pop(self) -> Any:
        """The top of the stack."""
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """All that was pushed since the last mark."""
        items: list[Any] = []
        while (item := self.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction, by its name in `pickletools`."""
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
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                if function not in FUNCTIONS.values():
                    raise Refused("it calls something that is no function")
                push(function(*arguments))
            case "BUILD":
                self.pop()
                # An OrderedDict's attributes: the versions of a network's layers.
                if not isinstance(self.stack[-1], dict):
                    raise Refused("it sets attributes, which nothing in it has")
            case "BINPERSID":
                push(self.storage(self.pop()))
            case _:
                what = f"{name} {argument}" if isinstance(argument, str) else name
                raise Refused(
                    f"it uses the pickle instruction {what}, which is not part of a "
                    "weight file (nothing was run)"
                )

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise Refused("it appends to something that is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Add alternating keys and values to the dictionary on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Refused("it adds items to something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value

    def storage(self, pid: Any) -> Storage:
        """A storage, from the tuple that PyTorch writes in its place."""
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(whole), *rest):
                pass
            case _:
                raise Refused("it refers to something that is no storage of a tensor")
        start, size = 0, whole
        match rest:
            case [] | [None]:
                pass
            case [(_, start, size)]:  # Old files name a part of a storage like this.
                pass
            case _:
                raise Refused("a storage in it is described wrongly")
        if not _are_sizes(whole, start, size) or start + size > whole:
            raise Refused("a storage in it is described wrongly")
        if self.storages.setdefault(key, (dtype, whole)) != (dtype, whole):
            raise Refused(f"its storage {key} has two types or sizes")
        return Storage(dtype, key, whole, start, size)


def _find(name: str) -> Any:
    """What stands in for a dotted name, or `Refused`."""
    if name in STORAGE_TYPES:
        return STORAGE_TYPES[name]
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise Refused(
        f"it wants to run {name}, which is not part of a weight file (nothing was "
        "run); save the network's state_dict() alone"
    )


def _checked_key(key: Any) -> Any:
    """A dictionary's key, if it is a plain one.

    Python recurses into a tuple to hash it: a deeply nested one overflows its stack.
    """
    if not isinstance(key, str | int | float | None):
        raise Refused("a dictionary in it has a key that is no name")
    return key


def _are_sizes(*numbers: Any) -> bool:
    """Whether all are numbers of elements that a file could have."""
    return all(type(n) is int and 0 <= n < 2**60 for n in numbers)
