"""Checks of arguments that may be traced, and casts to float32."""

from collections.abc import Collection
from typing import Any

import numpy as np

from pigdm_jax.core.text import one_line


def given(value: Any) -> str:
    """What an argument is, for an error, in a few words."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and shape != ():
        return f"an array of shape {shape} and type {dtype}"
    text = one_line(repr(value))
    text = text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, bool | int | float | str):
        return text
    return f"{text} ({type(value).__name__})"


def check_one_number(
    name: str, value: Any, low: float, high: float = np.inf, *, above: bool = False
) -> float:
    """Check a real number that is no leaf of a pytree, so never traced.

    Args:
      name: of the number, for the error.
      value: one number: Python's, NumPy's or JAX's.
      low: the smallest value allowed.
      high: the largest.
      above: whether `low` itself is not allowed.

    Returns:
      The number.

    Raises:
      ValueError: if it is no number, or out of range, NaN or infinite.
    """
    number = float("nan")
    try:
        if not isinstance(value, bool | str | bytes) and np.ndim(value) == 0:
            number = float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    if low <= number <= high and number < np.inf and not (above and number == low):
        return number
    limits = f"above {low}" if above else f"from {low}"
    limits += " and finite" if high == np.inf else f" and at most {high}"
    if not above and high < np.inf:
        limits = f"from {low} to {high}"
    raise ValueError(f"{name} must be one number, {limits}, got {given(value)}")


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
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if isinstance(value, str | bytes | complex) or kind in tuple("cSUO"):
        raise ValueError(f"{name} must be a number, got {given(value)}")
    if not isinstance(value, bool | int | float | np.generic | np.ndarray):
        return
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        limits = f"at least {low}" if high == np.inf else f"from {low} to {high}"
        shown = value if np.ndim(value) == 0 else given(value)
        raise ValueError(f"{name} must be {limits}, got {shown}")


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
        raise ValueError(f"{name} must be a whole number {limits}, got {given(value)}")


def check_flag(name: str, value: Any) -> None:
    """Check that a value is True or False.

    Args:
      name: of the argument, for the error.
      value: the argument.

    Raises:
      ValueError: if it is anything else, an array included.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {given(value)}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that a value is one of several.

    Args:
      name: of the argument, for the error.
      value: the argument.
      choices: the values that it may have.

    Raises:
      ValueError: if the value is none of the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}; got {given(value)}"
        )


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
