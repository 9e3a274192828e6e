"""Operators in text, "super_resolution:4,box | jpeg:10": the grammar.

Imports neither JAX nor any operator, so that the command can answer a wrong text at
once. `pigdm_jax.operators.parsing` builds the operators.

A parameter may be quoted, "inpaint:'a, b.png'"; inside quotes a doubled quote stands
for one quote. So a file name may contain any character.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

if TYPE_CHECKING:
    from pigdm_jax.operators.base import Operator

NUMBERS = {
    int: re.compile(r"[+-]?[0-9]+"),
    float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE),
}
REQUIRED = object()
"""The default of a parameter that has none."""


class Parameter(NamedTuple):
    """One parameter of an operator in text.

    Attributes:
      name: its keyword.
      kind: int, float or str.
      default: its value where the text gives none; REQUIRED if it must be given.
      low, high: the range of a number, both included.
      choices: the values that a str may have; empty for any.
      file_kind: if not "", any other value is the name of a file of this kind ("mask",
        "kernel" or "JPEG").
    """

    name: str
    kind: type
    default: Any = REQUIRED
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    file_kind: str = ""

    def parse(self, operator: str, text: str) -> Any:
        """The typed value of a text.

        Args:
          operator: the operator's name, for errors.
          text: the value as written.

        Raises:
          ValueError: if the value has the wrong type or is out of range.
        """
        if text == "?":
            raise ValueError(
                f"{operator}: '?' is reserved for parameters to be estimated, and "
                f"{self.name} cannot be estimated yet; write its value"
            )
        wrong = f"{operator}: {self.name} must be {self.describe()}, got {text!r}"
        if self.kind is str:
            if self.choices and text not in self.choices and not self.file_kind:
                raise ValueError(wrong)
            return text
        try:
            if not NUMBERS[self.kind].fullmatch(text) or len(text) > 40:
                raise ValueError
            number = self.kind(text)
        except ValueError:
            if self.file_kind:
                return text
            raise ValueError(wrong) from None
        if not self.low <= number <= self.high or math.isinf(number):
            raise ValueError(wrong)
        return number

    def names_file(self, value: Any) -> TypeGuard[str]:
        """Whether a value of this parameter is the name of a file."""
        return (
            bool(self.file_kind)
            and isinstance(value, str)
            and value not in self.choices
        )

    def describe(self) -> str:
        """The values it accepts, for instance "a whole number from 1 to 100"."""
        accepted = []
        if self.kind is str:
            accepted += ["one of " + ", ".join(self.choices)] if self.choices else []
        else:
            accepted.append("a whole number" if self.kind is int else "a number")
            if self.high < math.inf:
                accepted[0] += f" from {self.low:g} to {self.high:g}"
            elif self.low > -math.inf:
                accepted[0] += f" of at least {self.low:g}"
        if self.file_kind:
            accepted.append(f"a {self.file_kind} file")
        return " or ".join(accepted)


class Named(NamedTuple):
    """An operator that can be written in text.

    Attributes:
      name: its name in text.
      constructor: called with the image shape, and the given parameters by keyword; a
        parameter that names a file is passed as what `read` returned for it.
      summary: one line on what it does.
      parameters: in the order in which they are written.
      check: called with the given parameters; raises ValueError for combinations that
        no single range excludes.
      scale_parameter: the parameter that holds how many times smaller the measurement
        is than the image along each side; "" if they have the same size.
      header_parameter: the parameter that the header of the measured file supplies
        where the text does not give it; "" for none.
      file_parameter: the parameter that names a file, for a picture that was not
        degraded by this package; "" for none.
      must_be_known: "", or what the user must know of it, for instance "the kernel".
    """

    name: str
    constructor: Callable[..., "Operator"]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    check: Callable[[Mapping[str, Any]], None] = lambda values: None
    scale_parameter: str = ""
    header_parameter: str = ""
    file_parameter: str = ""
    must_be_known: str = ""

    def usage(self) -> str:
        """How it is written, for instance super_resolution:FACTOR[,KERNEL=box]."""
        text = self.name
        for i, parameter in enumerate(self.parameters):
            separator = ":" if i == 0 else ","
            if parameter.default is REQUIRED:
                text += f"{separator}{parameter.name.upper()}"
            else:
                text += f"[{separator}{parameter.name.upper()}={parameter.default}]"
        return text

    def assumption(self) -> str:
        """What is assumed where the text gives no parameter, in a sentence."""
        first = self.parameters[0]
        return (
            f"{self.must_be_known} must be known, and is not estimated from the "
            f"picture: {self.name} assumes {self.name}:{first.default}"
        )


@dataclasses.dataclass(frozen=True)
class Stage:
    """One operator of a parsed text, with the parameters that the text gives.

    Attributes:
      named: the operator.
      values: (name, typed value) of each given parameter, in the text's order.
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
        parameter = self.named.scale_parameter
        return self.given[parameter] if parameter else 1

    def check_known(self) -> str | None:
        """Whether the parameters describe a picture that the user has.

        Returns:
          A remark for the user; None if there is nothing to say.

        Raises:
          ValueError: if the parameter that should name a file is missing.
        """
        if self.named.must_be_known and not self.values:
            return self.named.assumption()
        name = self.named.file_parameter
        parameter = next((p for p in self.named.parameters if p.name == name), None)
        if parameter is None or parameter.names_file(self.given.get(name)):
            return None
        example = f"{self.named.name}:{parameter.file_kind}.png"
        if name not in self.given:
            raise ValueError(
                f"{self.named.name} needs the {name} of your picture: write {example}, "
                "or --simulate to damage a clean picture first"
            )
        return (
            f"{self} is for pictures that `pigdm degrade` damaged; for damage of your "
            f"own write {example}"
        )

    def files(self) -> list[str]:
        """The files that its parameters name."""
        values = ((p, self.given.get(p.name)) for p in self.named.parameters)
        return [value for parameter, value in values if parameter.names_file(value)]

    def __str__(self) -> str:
        """A text that parses to an equal stage."""
        names = [parameter.name for parameter in self.named.parameters]
        values = []
        for position, (name, value) in enumerate(self.values):
            positional = position < len(names) and names[position] == name
            values.append(_quoted(value) if positional else f"{name}={_quoted(value)}")
        return f"{self.named.name}:{','.join(values)}" if values else self.named.name


def parse_stages(text: str, registry: Mapping[str, Named]) -> tuple[Stage, ...]:
    """The operators that a text names, separated by "|", first applied first.

    Args:
      text: NAME or NAME:PARAMETER,PARAMETER for each operator; parameters in order or
        as name=value.
      registry: the operators by name.

    Raises:
      ValueError: if a name is unknown, or a parameter is missing, unknown, given twice
        or out of range.
    """
    return tuple(_parse_stage(part, registry) for part in _split(text, "|"))


def stage_names(text: str, registry: Mapping[str, Named]) -> list[str]:
    """The names of the operators in a text; looks none of them up.

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
    _, colon, rest = text.partition(":")
    named = registry[name]
    if colon and not rest.strip():
        raise ValueError(
            f"{name} has nothing behind its colon; a variable of the shell may be "
            f"unset; it is written {named.usage()}"
        )
    values = _parse_values(rest, named) if rest.strip() else {}
    for parameter in named.parameters:
        if parameter.name not in values and parameter.default is REQUIRED:
            hint = ""
            if named.must_be_known:
                hint = (
                    f"; {named.must_be_known} must be known, it is not estimated from "
                    "the picture"
                )
            raise ValueError(
                f"{name} needs its {parameter.name}: write {named.usage()}{hint}"
            )
    named.check(values)
    return Stage(named, tuple(values.items()))


def _parse_values(text: str, named: Named) -> dict[str, Any]:
    """The typed parameters of an operator's text behind the colon."""
    parameters = {parameter.name: parameter for parameter in named.parameters}
    order = list(parameters)
    values: dict[str, Any] = {}
    for position, part in enumerate(_split(text, ",")):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or key not in parameters:
            if position >= len(order):
                raise ValueError(
                    f"{named.name} is written {named.usage()}; {part.strip()!r} is one "
                    "parameter too many (quote a value that contains a comma)"
                )
            key, value = order[position], part
        if key in values:
            raise ValueError(f"{named.name}: {key} is given twice")
        value = _unquoted(value)
        if value:
            values[key] = parameters[key].parse(named.name, value)
    return values


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are not quoted.

    A quote opens only at the start of a value; inside a name it is an ordinary
    character.
    """
    if not isinstance(text, str):
        raise TypeError(f"operators in text must be a str, got {type(text).__name__}")
    parts, quote, opens = [""], "", True
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif opens and character in "'\"":
            quote = character
        elif character == separator:
            parts.append("")
            opens = True
            continue
        # A doubled quote closes and opens again.
        opens = character in ":,=|'\"" or (opens and character.isspace())
        parts[-1] += character
    if quote:
        raise ValueError(f"a quote {quote} is not closed in {text!r}")
    return parts


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def _quoted(value: Any) -> str:
    """A value as text, quoted where `_split` requires it."""
    if not isinstance(value, str):
        return str(value)
    plain = value == value.strip() and value and not re.search(r"[,|='\"]", value)
    if plain:
        return value
    return '"' + value.replace('"', '""') + '"'
