"""Checks of arguments that may be traced, and casts to float32."""

from collections.abc import Collection
from typing import Any

import numpy as np


def check_number(name: str, value: Any, low: float, high: float = np.inf) -> None:
    """Check the range of a number, if it is a Python or NumPy one.

    JAX arrays are not checked: they may be traced, or on a device from which they would
    have to be copied.

    Args:
      name: of the number, for the error.
      value: one number, or an array of them.
      low: the smallest value allowed.
      high: the largest.

    Raises:
      ValueError: if a value is out of range or NaN.
    """
    if not isinstance(value, bool | int | float | np.generic | np.ndarray):
        return
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        limits = f"at least {low}" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be {limits}, got {value}")


def check_count(name: str, value: Any, low: int = 1, high: float = np.inf) -> None:
    """Check a whole number.

    Args:
      name: of the number, for the error.
      value: an int, or a NumPy integer.
      low: the smallest value allowed.
      high: the largest.

    Raises:
      ValueError: if the value is not a whole number or out of range.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        limits = f"from {low} on" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value!r}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that a value is one of several.

    Args:
      name: of the argument, for the error.
      value: the argument.
      choices: the values that it may have.

    Raises:
      ValueError: if the value is none of the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def as_float32(tree: Any) -> Any:
    """A pytree with its floating-point leaves and Python numbers as float32 arrays.

    A jitted function is then traced once for Python, NumPy and JAX numbers of the same
    shape. Other leaves are returned unchanged.
    """
    # Not at the top: parsing a command's arguments must not load JAX.
    import jax

    def cast(leaf: Any) -> Any:
        if isinstance(leaf, bool | int | float | np.number):
            return jax.numpy.float32(leaf)
        if hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, np.floating):
            return jax.numpy.asarray(leaf, jax.numpy.float32)
        return leaf

    return jax.tree.map(cast, tree)
