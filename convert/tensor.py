"""Tensors that are read on demand, and the reason why a file is refused."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Refused(Exception):
    """The reason why a file is not read, as a clause about "it"."""


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
      shape: its shape.
      dtype: its type in the file.
      read: reads its values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
