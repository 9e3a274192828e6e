"""A pickle reader that rebuilds tensors and runs nothing else.

A pickle names functions and has them called. Here every name leads to one of the few
stand-ins below or to an error, so that nothing a file says is ever run.
"""

import math
import pickle
from io import BufferedIOBase
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np


class Refused(Exception):
    """The file wants something that is not part of a weight file."""


class Storage(NamedTuple):
    """A flat array in the file: the type of its elements, its key, their number."""

    dtype: np.dtype
    key: str
    size: int


class View(NamedTuple):
    """A tensor: a strided view into a storage, all in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class StateDict(dict):
    """What a file's ordered dictionaries become."""


class StandIn:
    """Something callable that holds no state a pickle could change."""

    __slots__ = ()


class MakeStateDict(StandIn):
    """Stands in for collections.OrderedDict."""

    __slots__ = ()

    def __call__(self, *args: Any) -> StateDict:
        """A dictionary, usually empty; its items follow in the pickle."""
        return StateDict(*args)


class RebuildTensor(StandIn):
    """Stands in for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
    ) -> View:
        """The view, checked to lie inside of its storage."""
        del rest  # requires_grad, hooks, metadata
        view = View(storage, offset, tuple(shape), tuple(strides))
        numbers = (offset, *view.shape, *view.strides)
        whole = all(type(n) is int and 0 <= n < 2**60 for n in numbers)
        if not isinstance(storage, Storage) or not whole:
            raise Refused("a tensor is described wrongly")
        if len(view.shape) != len(view.strides):
            raise Refused("a tensor has more strides than axes, or fewer")
        last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        count = math.prod(view.shape)
        if count and (offset + last >= storage.size or count > storage.size):
            raise Refused("a tensor reaches out of its storage")
        return view


class RebuildParameter(StandIn):
    """Stands in for torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, data: Any, *rest: Any) -> Any:
        """The parameter's tensor."""
        del rest  # requires_grad, hooks
        return data


class StorageType(NamedTuple):
    """Stands in for a class such as torch.FloatStorage."""

    dtype: np.dtype


STORAGE_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): MakeStateDict(),
    ("torch._utils", "_rebuild_tensor"): RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): RebuildParameter(),
    ("torch.nn.parameter", "Parameter"): RebuildParameter(),
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGE_TYPES.items()},
}


class Unpickler(pickle.Unpickler):
    """Reads one pickle, with stand-ins for the names it may use."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name, or `Refused`."""
        if (module, name) not in ALLOWED:
            raise Refused(
                f"it wants to run {module}.{name}, which rebuilds no tensor; nothing "
                "was run"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """A storage, from the tuple that PyTorch writes in its place."""
        match pid:
            case ("storage", StorageType(dtype), str(key), str(), int(size), *rest):
                if rest in ([], [None]) and size >= 0:
                    return Storage(dtype, key, size)
        raise Refused("it refers to something that is no plain tensor storage")


def unpickle(file: BufferedIOBase) -> Any:
    """The object of the pickle that starts here.

    Raises:
      Refused: if the pickle is damaged or asks for anything but tensors.
    """
    try:
        return Unpickler(file).load()
    except Refused:
        raise
    except Exception as error:
        # A broken pickle may raise whatever the operation it broke raises.
        raise Refused(f"it is damaged ({type(error).__name__})") from None
