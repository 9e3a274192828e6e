"""Restored pictures, and the references and labels that belong to them."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.paths import check_readable
from pigdm_jax.metrics.base import ImageMetric
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.pictures.finding import find_pictures
from pigdm_jax.pictures.formats import SUFFIXES

READERS = 16


class EvaluationRow(NamedTuple):
    """A picture to evaluate.

    Attributes:
      name: its path relative to its folder, with "/".
      path: its path.
      size: its height and width.
      reference: the path of its reference, if it has one.
      label: its class, if it has one.
    """

    name: str
    path: Path
    size: tuple[int, int] = (0, 0)
    reference: Path | None = None
    label: int | None = None


def list_rows(
    folder: str | Path, other: str | Path | None = None
) -> list[EvaluationRow]:
    """The pictures of a folder and of the folders in it, by name; reads headers only.

    Args:
      folder: the folder.
      other: a folder that may be inside it and is then no part of it.

    Raises:
      ValueError: if it is no folder, holds no picture, or one cannot be read.
    """
    check_readable(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder of pictures, but is a file")
    paths = find_pictures(folder, recursive=True, skip=_inside(folder, other)).pictures
    if not paths:
        raise ValueError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    with ThreadPoolExecutor(READERS) as readers:
        headers = list(readers.map(read_header, paths))
    return [
        EvaluationRow(path.relative_to(folder).as_posix(), path, header.size)
        for path, header in zip(paths, headers, strict=True)
    ]


def _inside(folder: Path, other: str | Path | None) -> Path | None:
    """The other folder if it is inside the first."""
    if other is None:
        return None
    # `resolve` fails on links in a circle.
    real = Path(os.path.realpath(other))
    return real if Path(os.path.realpath(folder)) in real.parents else None


def pair(
    rows: Sequence[EvaluationRow],
    references: Sequence[EvaluationRow],
    *,
    partial: bool = False,
) -> list[EvaluationRow]:
    """The restored pictures with their references: those of the same name.

    Names are compared without their suffix, which a restoration may have changed;
    where a folder holds a.jpg and a.png, with it.

    Args:
      rows: of the restored pictures.
      references: of the reference pictures.
      partial: whether there may be references that no restored picture has.

    Raises:
      ValueError: if a picture lacks its reference, or has another size; or, unless
        partial, a reference lacks its restored picture.
    """
    theirs = dict(zip(_keys(references), references, strict=True))
    ours = dict(zip(_keys(rows), rows, strict=True))
    alone = [row.name for key, row in ours.items() if key not in theirs]
    if alone:
        raise ValueError(
            f"there is no reference of the same name for {len(alone)} of {len(rows)} "
            f"pictures; the first is {alone[0]}"
        )
    unused = [row.name for key, row in theirs.items() if key not in ours]
    if unused and not partial:
        raise ValueError(
            "there is no restored picture of the same name for "
            f"{len(unused)} of {len(references)} references; the first is "
            f"{unused[0]}; a partial evaluation leaves them out"
        )
    for key, row in ours.items():
        if row.size != theirs[key].size:
            raise ValueError(
                f"{row.name} has {_pixels(row.size)} pixels, and its reference "
                f"{theirs[key].name} has {_pixels(theirs[key].size)}"
            )
    return [row._replace(reference=theirs[key].path) for key, row in ours.items()]


def check_sizes(rows: Sequence[EvaluationRow], metric: ImageMetric) -> None:
    """Refuse pictures that are too small for a metric.

    Raises:
      ValueError: if one is.
    """
    for row in rows:
        if min(row.size) < metric.smallest:
            raise ValueError(
                f"{metric.name} needs sides of {metric.smallest} pixels or more, and "
                f"{row.name} has {_pixels(row.size)} pixels"
            )
    for size in {row.size for row in rows}:
        if metric.check is not None:
            metric.check((*size, 3))


def with_labels(
    rows: Sequence[EvaluationRow], labels: Mapping[str, int], classes: int | None = None
) -> list[EvaluationRow]:
    """The pictures with their classes.

    Args:
      rows: of the pictures.
      labels: classes by the names of the pictures, with or without suffix.
      classes: their number, if there is a limit.

    Raises:
      ValueError: if a picture has none, or it is no whole number from 0 on
        that a class has.
    """
    found = []
    for row, key in zip(rows, _keys(rows), strict=True):
        label = labels.get(row.name, labels.get(key))
        if label is None:
            raise ValueError(f"there is no label for {row.name}")
        last = math.inf if classes is None else classes - 1
        check_count(f"the label of {row.name}", label, 0, last)
        found.append(row._replace(label=label))
    return found


def _keys(rows: Sequence[EvaluationRow]) -> list[str]:
    """Names without suffix; with it where two would be the same."""
    names = [PurePosixPath(row.name) for row in rows]
    stems = [name.with_suffix("").as_posix() for name in names]
    counts = Counter(stems)
    return [
        name.as_posix() if counts[stem] > 1 else stem
        for name, stem in zip(names, stems, strict=True)
    ]


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
