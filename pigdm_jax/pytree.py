"""Frozen dataclasses that JAX sees as pytrees: what operators and priors are."""

import dataclasses
from typing import Any

import jax


def static_field(**kwargs: Any) -> Any:
    """A dataclass field that is configuration, not a leaf of the pytree."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


def pytree_class(cls: type) -> type:
    """Make a class a frozen dataclass and a pytree; `static_field`s are no leaves.

    JAX fills the others with tracers and placeholders, so shapes are neither declared
    for them nor checked in the class, but in the functions that make its objects.
    """
    return jax.tree_util.register_dataclass(
        dataclasses.dataclass(frozen=True, eq=False)(cls)
    )
