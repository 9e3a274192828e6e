"""What is refused in the words of a command before they are parsed."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args, get_type_hints

# Not 1 and 0, which may be names of folders.
BOOLEANS = ("true", "false", "yes", "no")


def check_arguments(
    arguments: Sequence[str], commands: Iterable[Callable[..., Any]]
) -> None:
    """Refuse empty arguments, and values of flags that take none.

    Args:
      arguments: the command line without the program's name.
      commands: the functions of the subcommands.

    Raises:
      ValueError: if an argument is empty, as an unset variable of a shell makes it, or
        a flag such as --simulate has a value.
    """
    flags = {flag for command in commands for flag in boolean_flags(command)}
    before = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_flag = name.startswith("--")
        empty = not argument.strip() or (is_flag and equals and not value.strip())
        if empty:
            whose = name.strip() or before
            where = f"the value of {whose}" if whose.startswith("--") else "an argument"
            raise ValueError(f"{where} is empty; a variable of the shell may be unset")
        flag, value = (name, value) if is_flag else (before, argument)
        if flag in flags and value.lower() in BOOLEANS:
            positive = flag.replace("--no-", "--", 1)
            raise ValueError(
                f"{flag} takes no value: write {positive}, or "
                f"{positive.replace('--', '--no-', 1)} for the opposite"
            )
        before = argument


def boolean_flags(command: Callable[..., Any]) -> set[str]:
    """The flags of a command that take no value, with their opposites."""
    kinds = get_type_hints(command)
    kinds.pop("return", None)
    names = set(_booleans(kinds))
    return {f"--{no}{name.replace('_', '-')}" for name in names for no in ("", "no-")}


def _booleans(kinds: dict[str, Any]) -> Iterable[str]:
    for name, kind in kinds.items():
        if bool in (kind, *get_args(kind)):
            yield name
        # The second are the commands of a command, as of `pigdm prior`.
        for part in (kind, *get_args(kind)):
            if inspect.isclass(part) and dataclasses.is_dataclass(part):
                yield from _booleans({f.name: f.type for f in dataclasses.fields(part)})
