"""Objects that hold arrays as one line of text, for `repr`."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import jax

from pigdm_jax.core.text import one_line

# A container with more leaves is only counted.
MOST_LEAVES = 8


def brief(value: Any) -> str:
    """One line that shows types, shapes and settings, but not an array's values.

    Examples:
      >>> import numpy as np
      >>> brief((np.zeros((2, 3)), 4))
      '(float64[2, 3], 4)'
      >>> brief([np.zeros((2, 3))] * 10), brief(tuple(range(100)))
      ('<10 arrays of 60 numbers>', '<100 numbers>')
    """
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if not isinstance(value, dict | list | tuple):
        return one_line(repr(value))
    leaves = jax.tree.leaves(value)
    if len(leaves) > MOST_LEAVES:
        numbers = sum(math.prod(getattr(leaf, "shape", ())) for leaf in leaves)
        arrays = f"{len(leaves)} arrays of " if numbers != len(leaves) else ""
        return f"<{arrays}{numbers} numbers>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {brief(v)}" for k, v in value.items()) + "}"
    if hasattr(value, "_fields"):
        return fields_of(value, value._fields)
    inner = ", ".join(map(brief, value))
    if isinstance(value, list):
        return f"[{inner}]"
    return f"({inner},)" if len(value) == 1 else f"({inner})"


def _array(value: Any) -> str:
    if value.shape or isinstance(value, jax.core.Tracer):
        return f"{value.dtype}{list(value.shape)}"
    return str(value)


def fields_of(value: Any, names: Iterable[str]) -> str:
    """The object's class with its fields of these names."""
    inner = ", ".join(f"{name}={brief(getattr(value, name))}" for name in names)
    return f"{type(value).__name__}({inner})"


def brief_repr(value: Any) -> str:
    """`repr` of a dataclass, brief."""
    return fields_of(value, [field.name for field in dataclasses.fields(value)])
