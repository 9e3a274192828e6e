"""Frozen dataclasses that JAX sees as pytrees: what operators and priors are."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static_field(**kwargs: Any) -> Any:
    """A dataclass field that is configuration, not a leaf of the pytree."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(
    frozen_default=True,
    eq_default=False,
    field_specifiers=(dataclasses.field, static_field),
)
def pytree_class(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree; `static_field`s are no leaves.

    JAX fills the others with tracers and placeholders, so shapes are neither declared
    for them nor checked in the class, but in the functions that make its objects.

    Not by `jax.tree_util.register_dataclass`: the tree structures of two classes with
    equal static fields compare equal there (JAX 0.10.2), so that a jitted function may
    run the program of one for the other.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names: dict[bool, list[str]] = {True: [], False: []}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        names[bool(field.metadata.get("static"))].append(field.name)
    static, leaves = names[True], names[False]

    def flatten(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
        aux = tuple(getattr(value, name) for name in static)
        return [getattr(value, name) for name in leaves], aux

    def flatten_with_keys(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
        children, aux = flatten(value)
        keys = map(jax.tree_util.GetAttrKey, leaves)
        return list(zip(keys, children, strict=True)), aux

    def unflatten(aux: tuple[Any, ...], children: Iterable[Any]) -> Any:
        return cls(**dict(zip((*static, *leaves), (*aux, *children), strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def node_types(tree: Any) -> Any:
    """The types of all nodes of a pytree, nested as they are; hashable.

    Part of a jitted function's key where users bring dataclasses that they have
    registered by `jax.tree_util.register_dataclass`; see `pytree_class`.
    """

    def types(structure: Any) -> Any:
        data = structure.node_data()
        kind = None if data is None else data[0]
        return kind, tuple(map(types, structure.children()))

    return types(jax.tree.structure(tree))


def as_pytree(function: Callable) -> Any:
    """The function as a pytree: wrapped, without leaves, if it is none already."""
    if jax.tree.leaves(function) == [function]:
        return jax.tree_util.Partial(function)
    return function
