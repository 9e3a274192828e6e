"""The keys of a TOML table, checked one by one; imports no JAX."""

from collections.abc import Iterable
from typing import Any

from pigdm_jax.core.text import one_line


class Fields:
    """The keys of a TOML table, each taken once and checked.

    Attributes:
      given: what has not been taken yet.
      where: the place in the file, for errors.
    """

    def __init__(self, given: Any, where: str) -> None:
        if not isinstance(given, dict):
            raise ValueError(f"{where} must be a table of keys, got {given!r:.60}")
        self.given, self.where = given, where

    def take(self, name: str, kind: Any, *default: Any) -> Any:
        """Take a value.

        Args:
          name: its key.
          kind: its type or types; True and False are no numbers.
          *default: the value if there is none.

        Raises:
          ValueError: if it is missing without a default, or of another type.
        """
        if name not in self.given:
            if not default:
                raise ValueError(f"{self.where} lacks {name}")
            return default[0]
        value = self.given.pop(name)
        if not isinstance(value, kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise ValueError(f"{self.where}: {name} cannot be {value!r:.60}")
        return value

    def text(self, name: str, *default: str) -> str:
        """Take a text, whose spaces and line breaks become single spaces."""
        return one_line(self.take(name, str, *default))

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of texts; none if it is missing."""
        return tuple(self._all(name, str, self.take(name, list, [])))

    def wholes(self, name: str) -> tuple[int, ...]:
        """Take a list of whole numbers from 1 on; none if it is missing."""
        return tuple(self._all(name, int, self.take(name, list, [])))

    def number(
        self, name: str, low: float = -1e9, high: float = 1e9, *default: float
    ) -> float:
        """Take a number from `low` to `high`.

        Raises:
          ValueError: if it is out of range.
        """
        value = self.take(name, int | float, *default)
        if not low <= value <= high:
            raise ValueError(
                f"{self.where}: {name} must be from {low:g} to {high:g}, got {value}"
            )
        return float(value)

    def whole(self, name: str, default: int | None) -> int | None:
        """Take a whole number from 1 on.

        Raises:
          ValueError: if it is out of range.
        """
        value = self.take(name, int, default)
        if value is not None and value < 1:
            raise ValueError(f"{self.where}: {name} must be at least 1, got {value}")
        return value

    def tables(self, name: str) -> list[Any]:
        """Take a list of tables, which `Fields` checks."""
        return self.take(name, list)

    def check_unknown(self) -> None:
        """Refuse keys that have not been taken.

        Raises:
          ValueError: if there are any.
        """
        if self.given:
            raise ValueError(
                f"{self.where} has an unknown key {min(self.given)!r}; "
                "docs/how-to/reproducing.md lists the keys"
            )

    def _all(self, name: str, kind: type, values: list[Any]) -> Iterable[Any]:
        for value in values:
            wrong = not isinstance(value, kind) or isinstance(value, bool)
            if wrong or (isinstance(value, int) and value < 1):
                raise ValueError(f"{self.where}: {name} cannot hold {value!r:.60}")
            yield one_line(value) if isinstance(value, str) else value
