"""A tensor that is still in its file, and the reason why there may be none."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Refused(Exception):
    """Why a file is not read, as the end of a sentence that begins with its name."""


class Tensor(NamedTuple):
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
