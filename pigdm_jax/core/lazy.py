"""Tables of objects that are imported on first use."""

from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import TypeVar

T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """Objects by name, each imported when it is first looked up.

    Listing the names and asking whether one is known import nothing, so that the
    command answers a misspelt name without loading JAX.

    Attributes:
      targets: where each object is, as "module:attribute".

    Examples:
      >>> registry = LazyMapping({"dumps": "json:dumps", "loads": "json:loads"})
      >>> list(registry), "dump" in registry
      (['dumps', 'loads'], False)
      >>> registry["dumps"]([1])
      '[1]'
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self.targets = dict(targets)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = resolve_name(self.targets[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.targets

    def __iter__(self) -> Iterator[str]:
        return iter(self.targets)

    def __len__(self) -> int:
        return len(self.targets)
