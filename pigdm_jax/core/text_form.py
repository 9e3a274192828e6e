"""Samplers and guidances as text: "ddim:steps=100,guidance=(moment:products=5)"."""

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", bound="TextForm")


class TextForm(abc.ABC):
    """A frozen dataclass with a text form, `str`, which parses back to it.

    Attributes:
      name: what it is called on the command line; the class's name if not given.
    """

    name: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name a class that does not name itself."""
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    def __str__(self) -> str:
        """The name, and the fields that differ from their defaults."""
        words = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name == "steps" or not _same(value, field.default):
                words.append(f"{field.name}={_text(value)}")
        return f"{self.name}:{','.join(words)}" if words else self.name


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    if isinstance(value, TextForm) or isinstance(default, TextForm):
        return str(value) == str(default)
    try:
        return _text(value) == _text(default)
    except (TypeError, ValueError):
        return False


def _text(value: Any) -> str:
    if isinstance(value, TextForm):
        return f"({value})"
    if isinstance(value, bool | None):
        return str(value).lower()
    if isinstance(value, str):
        return value
    number = np.asarray(value)
    if number.ndim:
        raise ValueError("an array has no text form")
    if number.dtype.kind == "f" and not isinstance(value, float):
        # The shortest text of a float32 that reads back as the same.
        return str(float(str(number.astype(np.float32)[()])))
    return str(number[()])


def parse_object(
    text: str,
    kind: str,
    registry: Mapping[str, type[T]],
    inner: Callable[[str, str], Any] | None = None,
) -> T:
    """The object that a text names: NAME or NAME:KEY=VALUE,KEY=VALUE.

    Args:
      text: what to parse.
      kind: what it is, for errors: "sampler" or "guidance".
      registry: the classes by name.
      inner: what parses a value in parentheses, called with the field and the text.

    Raises:
      ValueError: if the name is unknown, or a field is unknown, given twice or has a
        value that it cannot have.
    """
    name, _, rest = text.strip().partition(":")
    name = name.strip()
    if name not in registry:
        raise ValueError(f"no {kind} {name!r}; there are {', '.join(registry)}")
    cls = registry[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for word in _split(rest) if rest.strip() else []:
        key, equals, value = word.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in fields:
            known = ", ".join(fields) or "none"
            raise ValueError(
                f"{kind} {name} has parameters {known}, as KEY=VALUE; got {word!r}"
            )
        if key in values:
            raise ValueError(f"{kind} {name}: {key} is given twice")
        values[key] = _value(f"{name}: {key}", fields[key], value, inner)
    return cls(**values)


def _split(text: str) -> list[str]:
    """The parts between commas that are not in parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise ValueError(f"a parenthesis is missing in {text!r}")
    return parts


def _value(
    what: str,
    field: dataclasses.Field,
    text: str,
    inner: Callable[[str, str], Any] | None,
) -> Any:
    if text == "none":
        return None
    if text.startswith("(") and text.endswith(")") and inner is not None:
        return inner(field.name, text[1:-1])
    if not field.metadata.get("static"):
        return _number(what, text)
    if field.type is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{what} is true or false, got {text!r}")
        return text == "true"
    if field.type is int:
        if not re.fullmatch(r"[+-]?\d{1,9}", text):
            raise ValueError(f"{what} is a whole number, got {text!r}")
        return int(text)
    if field.type is str:
        return text
    return _number(what, text)


def _number(what: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what} is a number, got {text!r}") from None
