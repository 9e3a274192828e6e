"""The files that a run writes: named and checked before anything is computed."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

INPUT, NAMED = "the input", "a file that the task names"
"""What a file that is read may be; for `check_outputs`."""


def suffixes(samples: int) -> list[str]:
    """Suffixes of the files that are written for one picture.

    Args:
      samples: number of restorations; several have a mean and a standard deviation.
    """
    if samples == 1:
        return [""]
    return [*map(str, range(1, samples + 1)), "mean", "std"]


def with_suffix(path: Path, suffix: str) -> Path:
    """The path with a suffix behind the name's stem; the path itself if it is ""."""
    return path.with_stem(f"{path.stem}-{suffix}") if suffix else path


def check_outputs(
    outputs: Iterable[Path],
    inputs: Mapping[Path, str],
    *,
    overwrite: bool = False,
    is_own: Callable[[Path], bool] = lambda path: False,
) -> None:
    """Refuse to write over anything that this run did not write.

    Args:
      outputs: all files that the run will write.
      inputs: the files that it reads, and what each is; they are never replaced. Links
        to them are they.
      overwrite: whether other files that exist may be replaced.
      is_own: whether a file that exists was written by this run before it was
        interrupted.

    Raises:
      ValueError: if an output is an input or a folder, lies in what is no folder, two
        outputs are one file or differ in case alone, or one exists that may not be
        replaced.
    """
    names = {os.path.realpath(path): path for path in inputs}
    numbers = {_number(path): path for path in inputs}
    numbers.pop(None, None)
    first: dict[str, Path] = {}
    existing, folders = [], set[Path]()
    for path in outputs:
        place = os.path.realpath(path)
        read = names.get(place) or numbers.get(_number(path))
        if read is not None:
            shown = "" if read == path else f", {read}"
            raise ValueError(
                f"{path} is {inputs[read]}{shown}, which is never replaced; --out "
                "writes elsewhere"
            )
        other = first.setdefault(folded(place), path)
        if other is not path:
            raise ValueError(
                f"{other} and {path} would be the same file, at least where case does "
                "not count; rename one of their pictures"
            )
        if path.is_dir():
            raise ValueError(f"{path} is a folder; --out writes elsewhere")
        folders.add(path.parent)
        if os.path.lexists(path) and not overwrite and not is_own(path):
            existing.append(path)
    for folder in sorted(folders):
        nearest = next(x for x in (folder, *folder.parents) if os.path.lexists(x))
        if not nearest.is_dir():
            raise ValueError(f"{nearest} is no folder; --out writes elsewhere")
    if existing:
        raise ValueError(_existence(existing))


def folded(name: str) -> str:
    """What names have in common that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _existence(paths: list[Path]) -> str:
    if len(paths) == 1:
        return f"{paths[0]} exists; --overwrite replaces it, --out writes elsewhere"
    others = str(paths[1]) if len(paths) == 2 else f"{len(paths) - 1} more files"
    return (
        f"{paths[0]} and {others} exist; --overwrite replaces them, --out writes "
        "elsewhere"
    )


def _number(path: Path) -> tuple[int, int] | None:
    """What hard and symbolic links to a file share; None if there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
