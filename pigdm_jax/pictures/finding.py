"""The pictures in a folder, by the suffixes of their names."""

import os
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.pictures.formats import SUFFIXES


class Found(NamedTuple):
    """What is in a folder.

    Attributes:
      pictures: paths of the pictures, sorted.
      nested: number of pictures in sub-folders that were not searched.
      others: number of files that are no pictures.
      hidden: number of hidden files, and of files in hidden folders.
    """

    pictures: list[Path]
    nested: int
    others: int
    hidden: int


def find_pictures(
    folder: Path, *, recursive: bool = False, skip: Path | None = None
) -> Found:
    """Find the pictures of a folder; opens no file.

    Args:
      folder: the folder to search.
      recursive: whether its sub-folders are searched, too.
      skip: a folder inside it that is not searched.
    """
    found: list[Path] = []
    nested = others = hidden = 0
    # `resolve` fails on links in a circle.
    real = None if skip is None else Path(os.path.realpath(skip))
    for path in sorted(folder.rglob("*")):
        inside = real is not None and real in Path(os.path.realpath(path)).parents
        if path.is_dir() or inside:
            continue
        inner = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inner):
            hidden += 1
        # What exists and is no file would be waited for.
        elif path.suffix.lower() not in SUFFIXES or (
            path.exists() and not path.is_file()
        ):
            others += 1
        elif len(inner) > 1 and not recursive:
            nested += 1
        else:
            found.append(path)
    return Found(found, nested, others, hidden)
