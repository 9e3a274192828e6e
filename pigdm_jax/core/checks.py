"""Range checks of numbers, which may be traced."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def check_number(name: str, value: Any, low: float, high: float = np.inf) -> None:
    """Check a number where its value is at hand: a Python or NumPy one.

    Arrays on a device are not fetched, and traced values have none.

    Raises:
      ValueError: if it is not from `low` to `high`.
    """
    if not isinstance(value, bool | int | float | np.generic | np.ndarray):
        return
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        limits = f"at least {low}" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be {limits}, got {value}")


def check_count(name: str, value: Any, low: int = 1) -> None:
    """Check a whole number.

    Raises:
      ValueError: if it is none, or below `low`.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low:
        raise ValueError(f"{name} must be a whole number from {low} on, got {value!r}")


def check_word(name: str, value: Any, known: Iterable[str]) -> None:
    """Check one of several words.

    Raises:
      ValueError: if it is none of them.
    """
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")


def as_float32(tree: Any) -> Any:
    """Python, NumPy and JAX numbers of a pytree as float32 arrays; the rest as it is.

    A jitted function then has one trace for all of them.
    """

    def cast(leaf: Any) -> Any:
        if isinstance(leaf, bool | int | float | np.number):
            return jax.numpy.float32(leaf)
        if hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, np.floating):
            return jax.numpy.asarray(leaf, jax.numpy.float32)
        return leaf

    return jax.tree.map(cast, tree)
