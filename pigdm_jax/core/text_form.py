"""Samplers and guidances as text: "ddim:steps=100,guidance=(moment:products=5)".

Imports neither JAX nor NumPy, so that the command can answer a wrong name at once.
"""

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T", bound="TextForm")


class TextForm(abc.ABC):
    """A frozen dataclass with a text form, `str`, which parses back to it.

    Attributes:
      name: its name on the command line; by default the class's name in lower case.
    """

    name: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its default name."""
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    def __str__(self) -> str:
        """The name, `steps` if it has any, and the fields that are not the defaults."""
        values = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name == "steps" or not _same(value, field.default):
                values.append(f"{field.name}={_text(value)}")
        return f"{self.name}:{','.join(values)}" if values else self.name


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
    # Not at the top: see the module's docstring.
    import numpy as np

    number = np.asarray(value)
    if number.ndim:
        raise ValueError("an array has no text form")
    if number.dtype.kind == "f" and not isinstance(value, float):
        # The shortest decimal that rounds to this float32.
        return str(float(str(number.astype(np.float32)[()])))
    return str(number[()])


def parse_object(
    text: str,
    kind: str,
    registry: Mapping[str, type[T]],
    parse_inner: Callable[[str, str], Any] | None = None,
) -> T:
    """The object that a text names: NAME or NAME:KEY=VALUE,KEY=VALUE.

    Args:
      text: what to parse.
      kind: "sampler" or "guidance", for errors.
      registry: the classes by name.
      parse_inner: called with the name of a field and the text of its value for values
        in parentheses; returns the value.

    Raises:
      ValueError: if the name is unknown, or a field is unknown, given twice or has a
        value of the wrong type.
    """
    if not isinstance(text, str):
        raise TypeError(f"a {kind} in text must be a str, got {type(text).__name__}")
    name, _, rest = text.strip().partition(":")
    name = name.strip()
    if name not in registry:
        raise ValueError(f"no {kind} {name!r}; there are {', '.join(registry)}")
    cls = registry[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for part in _split(rest) if rest.strip() else []:
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in fields:
            known = ", ".join(fields) or "none"
            raise ValueError(
                f"{kind} {name} has parameters {known}, as KEY=VALUE; got {part!r}"
            )
        if key in values:
            raise ValueError(f"{kind} {name}: {key} is given twice")
        values[key] = _value(f"{name}: {key}", fields[key], value, parse_inner)
    return cls(**values)


def _split(text: str) -> list[str]:
    """The parts between commas that are not in parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise ValueError(f"a parenthesis is missing in {text!r}")
    return parts


def _value(
    label: str,
    field: dataclasses.Field,
    text: str,
    parse_inner: Callable[[str, str], Any] | None,
) -> Any:
    """The typed value of a field's text; `label` is the field's name in errors."""
    if text == "none":
        return None
    if text.startswith("(") and text.endswith(")") and parse_inner is not None:
        return parse_inner(field.name, text[1:-1])
    if not field.metadata.get("static"):
        return _number(label, text)
    if field.type is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{label} must be true or false, got {text!r}")
        return text == "true"
    if field.type is int:
        if not re.fullmatch(r"[+-]?\d{1,9}", text):
            raise ValueError(f"{label} must be a whole number, got {text!r}")
        return int(text)
    if field.type is str:
        return text
    return _number(label, text)


def _number(label: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{label} must be a number, got {text!r}") from None
