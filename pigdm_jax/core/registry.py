"""Registries whose entries are imported on first use."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to objects in modules that are imported when needed.

    So that a list of names costs no import: the command answers a wrong name at once.

    Examples:
      >>> registry = Registry({"dumps": "json:dumps", "sqrt": "math:sqrt"})
      >>> list(registry)
      ['dumps', 'sqrt']
      >>> registry["sqrt"](9)
      3.0
    """

    def __init__(self, places: Mapping[str, str | T]) -> None:
        """Make a registry.

        Args:
          places: by name, "module:attribute" of each object, or the object itself.
        """
        self._places = dict(places)

    def __getitem__(self, name: str) -> T:
        place = self._places[name]
        if not isinstance(place, str):
            return place
        module, _, attribute = place.partition(":")
        value: Any = getattr(importlib.import_module(module), attribute)
        return value

    def __or__(self, other: Mapping[str, T]) -> "Registry[T]":
        """A registry of the entries of both."""
        return Registry({**self._places, **other})

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
