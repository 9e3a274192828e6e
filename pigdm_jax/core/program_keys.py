"""Keys of compiled programs: a hash of everything that determines one.

The function, the arguments' tree with its static fields, their shapes and placement,
the versions of the package and of JAX, and the machine.
"""

import hashlib
import os
import re
from collections.abc import Callable, Hashable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGE = Path(__file__).resolve().parents[1]
# Of JAX's options those that change what a function is lowered to.
OPTIONS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
)


class Unkeyed(Exception):
    """An argument whose static fields have no text that determines them."""


def program_key(
    fun: Callable[..., Any], tree: Any, leaves: list[Any], rest: Hashable
) -> str | None:
    """A hash of all that determines what is compiled; None where there is none.

    There is none for functions and classes outside of this package, whose files the
    stamp does not cover.
    """
    module = getattr(fun, "__module__", "")
    if module.split(".")[0] != PACKAGE.name:
        return None
    try:
        described = describe(tree)
    except Unkeyed:
        return None
    name = f"{module}.{fun.__qualname__}"
    shapes = [(leaf.shape, str(leaf.dtype), _placement(leaf)) for leaf in leaves]
    parts = (name, described, shapes, rest, stamp(), machine())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _placement(leaf: Any) -> str:
    """How an array is distributed over several devices; "" for one device."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or len(sharding.device_set) == 1:
        return ""
    return f"{sharding.mesh.shape_tuple} {sharding.spec}"


def describe(tree: Any) -> Any:
    """A tree structure as nested text, static fields included.

    Raises:
      Unkeyed: for classes and static fields that are not from this package or JAX.
    """
    data = tree.node_data()
    children = [describe(child) for child in tree.children()]
    if data is None:
        return ("leaf", children) if tree.num_leaves else ("none",)
    kind, static = data
    return _name(kind), _plain(static), children


def _name(kind: type) -> str:
    module = kind.__module__
    if module.split(".")[0] not in ("builtins", "pigdm_jax", "optax", "jax", "flax"):
        raise Unkeyed(module)
    return f"{module}.{kind.__qualname__}"


def _plain(value: Any) -> Any:
    """A static field as text that equals only for equal fields.

    Raises:
      Unkeyed: if it may have none.
    """
    if value is None or isinstance(value, bool | int | float | str | np.dtype):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return [(repr(key), _plain(item)) for key, item in value.items()]
    if isinstance(value, type):
        return _name(value) if value.__module__ != "numpy" else value.__name__
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        # A Flax module has its parent and scope among its fields.
        named = {
            name: getattr(value, name, None)
            for name in fields
            if name not in ("parent", "name")
        }
        return _name(type(value)), _plain(named)
    if callable(value) and type(value).__module__.startswith("jax"):
        return repr(getattr(value, "__name__", None) or _fail(value))
    raise Unkeyed(repr(value))


def _fail(value: Any) -> str:
    raise Unkeyed(repr(value))


@cache
def stamp() -> str:
    """The versions of what compiles, and the state of the package's own files."""
    files = sorted(
        (
            path.relative_to(PACKAGE).as_posix(),
            path.stat().st_size,
            path.stat().st_mtime,
        )
        for path in PACKAGE.rglob("*.py")
    )
    versions = [version(name) for name in ("jax", "jaxlib", "flax", "optax")]
    return repr((versions, files))


@cache
def machine() -> str:
    """What an executable is compiled for."""
    device = jax.local_devices()[0]
    flags = ""
    if device.platform == "cpu":
        try:
            flags = _cpu_flags(Path("/proc/cpuinfo").read_text())
        except OSError:
            flags = ""
    options = [(name, str(getattr(jax.config, name, None))) for name in OPTIONS]
    return repr(
        (
            device.platform,
            device.device_kind,
            device.client.platform_version,
            jax.local_device_count(),
            jax.process_count(),
            os.environ.get("XLA_FLAGS", ""),
            flags,
            options,
        )
    )


def _cpu_flags(text: str) -> str:
    found = re.search(r"^(flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return found[2] if found else ""
