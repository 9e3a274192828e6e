"""Frozen dataclasses as pytrees: operators, priors, samplers and guidances."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

from pigdm_jax.core.brief import brief_repr

T = TypeVar("T")


def static_field(**kwargs: Any) -> Any:
    """A dataclass field that is static: configuration, not a leaf of the pytree.

    Args:
      **kwargs: as for `dataclasses.field`, for instance `default`.
    """
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(
    frozen_default=True,
    eq_default=False,
    field_specifiers=(dataclasses.field, static_field),
)
def pytree_class(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree.

    Its fields are leaves or subtrees, except for each `static_field`, which must be
    hashable. JAX also builds objects whose fields are tracers or placeholders, so a
    class declares `Any` for its leaves; the functions that construct its objects check
    shapes and values. `repr` gives shapes instead of an array's values.

    `jax.tree_util.register_dataclass` is not used: with it the tree structures of two
    classes with equal static fields compare equal (JAX 0.10.2), so that a jitted
    function may run the program that was compiled for the other class.

    Examples:
      >>> import jax
      >>> @pytree_class
      ... class Scale:
      ...     factor: float
      ...     power: int = static_field(default=1)
      >>> jax.tree.map(lambda leaf: 2 * leaf, Scale(1.5, power=2))
      Scale(factor=3.0, power=2)
    """
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    if cls.__repr__ is object.__repr__:
        cls.__repr__ = brief_repr  # type: ignore[method-assign]
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
    """The types of all nodes of a pytree, as nested tuples; hashable.

    `typed_jit` makes it part of the key of a compiled program, for the classes that
    users register with `jax.tree_util.register_dataclass`; see `pytree_class`.
    """

    def types(structure: Any) -> Any:
        data = structure.node_data()
        kind = None if data is None else data[0]
        return kind, tuple(map(types, structure.children()))

    return types(jax.tree.structure(tree))


def check_decorated(tree: Any, kinds: tuple[type, ...]) -> None:
    """Refuse objects whose class lacks `pytree_class`, its own or an inherited one's.

    Args:
      tree: a pytree, in which such an object is a leaf.
      kinds: base classes of objects that must be pytrees.

    Raises:
      TypeError: if there is one; names its class.
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, kinds):
            name = type(leaf).__name__
            raise TypeError(
                f"{name} is not a pytree: decorate the class with "
                "pigdm_jax.pytree_class, even if it inherits from one that is decorated"
            )


def as_pytree(function: Callable[..., Any]) -> Any:
    """The function itself if it is a pytree, else a `Partial` of it without leaves."""
    if jax.tree.leaves(function) == [function]:
        return jax.tree_util.Partial(function)
    return function
