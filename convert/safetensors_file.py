"""Reading .safetensors files by their own library."""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from pigdm_convert.state import Weights, choose
from pigdm_convert.tensor import Refused, Tensor

FLOATS = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


def read_safetensors(path: Path) -> Weights:
    """The tensors of a .safetensors file, by name, as `state.choose` chooses them.

    Raises:
      Refused: if the file is damaged or has tensors that are not floating-point.
    """
    tensors = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            chosen, notes = choose(file.keys())
            if not chosen:
                raise Refused("it holds no weights")
            for name, short in chosen.items():
                part = file.get_slice(name)
                if part.get_dtype() not in FLOATS:
                    raise Refused(
                        f"{name} is of type {part.get_dtype()}, not floating-point"
                    )
                dtype = FLOATS[part.get_dtype()]
                tensors[short] = Tensor(
                    tuple(part.get_shape()), dtype, _reader(path, name)
                )
    except (safetensors.SafetensorError, OSError) as error:
        raise Refused(f"it is not a whole safetensors file ({error})") from error
    return Weights(tensors, notes)


def _reader(path: Path, name: str) -> Callable[[], np.ndarray]:
    """A function that reads one tensor.

    The library maps the file into memory. Each call opens the file again, so that the
    memory is released after it.
    """

    def read() -> np.ndarray:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return read
