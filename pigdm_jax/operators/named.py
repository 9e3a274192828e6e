"""Operators in text, "super_resolution:4,box | jpeg:10": what may be written, and how.

A parameter may be quoted, "inpaint:'a, b.png'"; within quotes a doubled quote stands
for itself. So a file name may hold anything.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Read = Callable[[str, str], Any]
"""Reads a file that a parameter names, for instance read("mask", "mask.png")."""

REQUIRED = object()


class Parameter(NamedTuple):
    """One parameter of an operator in text.

    Attributes:
      name: its keyword.
      kind: int, float or str.
      default: REQUIRED if it has none.
      low, high: the range of a number, both included.
      words: what a str may be; with `reads` it may be a file too.
      reads: the kind of file that a value which is no such word or number names.
    """

    name: str
    kind: type
    default: Any = REQUIRED
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    reads: str = ""

    def value(self, operator: str, text: str) -> Any:
        """The typed value of a text.

        Raises:
          ValueError: if it is of the wrong kind or out of range.
        """
        if text == "?":
            raise ValueError(
                f"{operator}: '?' is kept for parameters to be estimated, which "
                f"{self.name} cannot be yet; write its value"
            )
        wrong = f"{operator}: {self.name} is {self.meaning()}, got {text!r}"
        if self.kind is str:
            if self.words and text not in self.words and not self.reads:
                raise ValueError(wrong)
            return text
        pattern = r"[+-]?\d+" if self.kind is int else r".*"
        try:
            if not re.fullmatch(pattern, text) or len(text) > 40:
                raise ValueError
            number = self.kind(text)
        except ValueError:
            if self.reads:
                return text
            raise ValueError(wrong) from None
        if not self.low <= number <= self.high or math.isinf(number):
            raise ValueError(wrong)
        return number

    def meaning(self) -> str:
        """What it may be, in words."""
        kinds = []
        if self.kind is str:
            kinds += ["one of " + ", ".join(self.words)] if self.words else []
        else:
            kinds.append("a whole number" if self.kind is int else "a number")
            if self.high < math.inf:
                kinds[0] += f" from {self.low:g} to {self.high:g}"
            elif self.low > -math.inf:
                kinds[0] += f" from {self.low:g} on"
        if self.reads:
            kinds.append(f"a {self.reads} file")
        return " or ".join(kinds)


class Named(NamedTuple):
    """An operator by its name.

    Attributes:
      name: in text.
      make: called with the image shape and the parameters by keyword; a file arrives as
        what `read` gave for it.
      summary: what it does, in a line.
      parameters: in the order in which they are written.
      check: called with the given parameters, to refuse what no range can.
      enlarges: the parameter that says how many times smaller the measurement is than
        the image along each side.
    """

    name: str
    make: Callable[..., Any]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    check: Callable[[Mapping[str, Any]], None] = lambda values: None
    enlarges: str = ""

    def usage(self) -> str:
        """How it is written, for instance super_resolution:FACTOR[,KERNEL=box]."""
        text = self.name
        for i, parameter in enumerate(self.parameters):
            mark = ":" if i == 0 else ","
            if parameter.default is REQUIRED:
                text += f"{mark}{parameter.name.upper()}"
            else:
                text += f"[{mark}{parameter.name.upper()}={parameter.default}]"
        return text


@dataclasses.dataclass(frozen=True)
class Stage:
    """One operator of a task, with the parameters that were given.

    Attributes:
      named: the operator.
      values: name and typed value of each given parameter.
    """

    named: Named
    values: tuple[tuple[str, Any], ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """The given parameters by name."""
        return dict(self.values)

    @property
    def enlargement(self) -> int:
        """How many times larger the image is than its measurement, along each side."""
        return self.given[self.named.enlarges] if self.named.enlarges else 1

    def build(self, image_shape: tuple[int, ...], read: Read | None = None) -> Any:
        """The operator for images of a shape.

        Raises:
          ValueError: if the parameters do not suit the shape, or a file is named and
            cannot be read.
        """
        arguments = self.given
        for parameter in self.named.parameters:
            value = arguments.get(parameter.name)
            if is_file(parameter, value):
                if read is None:
                    raise ValueError(
                        f"{self.named.name}: {parameter.name} names the file {value}, "
                        "and parse was given no `read` to open it with"
                    )
                arguments[parameter.name] = read(parameter.reads, value)
        return self.named.make(image_shape, **arguments)

    def files(self) -> list[str]:
        """The files that its parameters name."""
        return [
            value
            for parameter in self.named.parameters
            if is_file(parameter, value := self.given.get(parameter.name))
        ]

    def __str__(self) -> str:
        """The text that parses to it."""
        names = [parameter.name for parameter in self.named.parameters]
        words = []
        for position, (name, value) in enumerate(self.values):
            in_place = position < len(names) and names[position] == name
            words.append(_quoted(value) if in_place else f"{name}={_quoted(value)}")
        return f"{self.named.name}:{','.join(words)}" if words else self.named.name


def is_file(parameter: Parameter, value: Any) -> bool:
    """Whether a parameter's value names a file."""
    return (
        bool(parameter.reads)
        and isinstance(value, str)
        and value not in parameter.words
    )


def parse_stages(text: str, registry: Mapping[str, Named]) -> tuple[Stage, ...]:
    """The operators that a text names, apart by "|", in the order of damage.

    Args:
      text: NAME or NAME:PARAMETER,PARAMETER for each, parameters in order or as
        name=value.
      registry: the operators by name.

    Raises:
      ValueError: if a name is unknown, or a parameter is missing, superfluous, given
        twice or out of range.
    """
    return tuple(_parse_stage(part, registry) for part in _split(text, "|"))


def stage_names(text: str, registry: Mapping[str, Named]) -> list[str]:
    """The names of the operators in a text.

    Raises:
      ValueError: if one is unknown.
    """
    names = [part.partition(":")[0].strip() for part in _split(text, "|")]
    for name in names:
        if name not in registry:
            raise ValueError(f"no operator {name!r}; there are {', '.join(registry)}")
    return names


def _parse_stage(text: str, registry: Mapping[str, Named]) -> Stage:
    (name,) = stage_names(text, registry)
    _, colon, rest = text.strip().partition(":")
    named = registry[name]
    known = {parameter.name: parameter for parameter in named.parameters}
    order, values = list(known), {}
    for position, word in enumerate(
        _split(rest, ",") if colon and rest.strip() else []
    ):
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or key not in known:
            if position >= len(order):
                raise ValueError(
                    f"{name} is written {named.usage()}; {word.strip()!r} is one "
                    "parameter too many (quote a value that holds a comma)"
                )
            key, value = order[position], word
        if key in values:
            raise ValueError(f"{name}: {key} is given twice")
        value = _unquoted(value)
        if value:
            values[key] = known[key].value(name, value)
    for key, parameter in known.items():
        if key not in values and parameter.default is REQUIRED:
            raise ValueError(f"{name} needs its {key}: write {named.usage()}")
    named.check(values)
    return Stage(named, tuple(values.items()))


def _split(text: str, mark: str) -> list[str]:
    """The parts of a text between marks that are not quoted.

    A quote opens only where a value begins, so that one within a name is a letter.
    """
    parts, quote, opens = [""], "", True
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif opens and letter in "'\"":
            quote = letter
        elif letter == mark:
            parts.append("")
            opens = True
            continue
        # A doubled quote closes and opens again.
        opens = letter in ":,=|" or (opens and letter.isspace()) or letter in "'\""
        parts[-1] += letter
    if quote:
        raise ValueError(f"a quote {quote} is not closed in {text!r}")
    return parts


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def _quoted(value: Any) -> str:
    """A value as text, in quotes where it has to be."""
    if not isinstance(value, str):
        return str(value)
    plain = value == value.strip() and value and not re.search(r"[,|='\"]", value)
    if plain:
        return value
    return '"' + value.replace('"', '""') + '"'
