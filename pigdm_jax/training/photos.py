"""The photos to train on, decoded once and kept in memory as uint8."""

import hashlib
import logging
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.formats import SUFFIXES
from pigdm_jax.pictures.kept import show
from pigdm_jax.pictures.levels import to_levels

Pixels = UInt8[np.ndarray, "_ _ 3"]
HALVINGS = 2
SHOWN = 3  # reasons why photos are skipped, in a message

LOGGER = logging.getLogger(__name__)


class Photo(NamedTuple):
    """One photo at several scales.

    Attributes:
      name: its path in the folder or archive.
      label: index of its class, or 0.
      scales: its pixels at full, half and quarter size.
    """

    name: str
    label: int
    scales: tuple[Pixels, ...]


class Collection(NamedTuple):
    """The photos of a run.

    Attributes:
      train: to train on.
      held_out: to evaluate on.
      classes: names of the classes, or None.
    """

    train: list[Photo]
    held_out: list[Photo]
    classes: tuple[str, ...] | None


def load_photos(
    source: Path, smallest: int, held_out: float, classes: bool
) -> Collection:
    """Decode every photo of a folder, with its sub-folders, or of a .zip file.

    Whether a photo is held out depends on its name alone. Files that are no single
    picture, or too small, are skipped, with a warning in the log.

    Args:
      source: the folder or archive.
      smallest: photos with a side below this number of pixels are skipped.
      held_out: the fraction to hold out, 0 to 0.5.
      classes: whether the first part of each path is a class.

    Raises:
      ValueError: if no photo is left, or with `classes` one is not in a sub-folder.
    """
    files = list(_files(Path(source)))
    if not files:
        raise ValueError(f"{source} contains no photos ({', '.join(SUFFIXES)})")
    names = None
    if classes:
        loose = [name for name, _ in files if "/" not in name]
        if loose:
            raise ValueError(
                f"with classes every photo must be in a sub-folder of {source}, but "
                f"{loose[0]} is not"
            )
        names = tuple(sorted({name.split("/")[0] for name, _ in files}))

    def load(file: tuple[str, bytes | Path]) -> Photo | str:
        name, content = file
        try:
            pixels = _decode(name, content)
        except ValueError as error:
            return str(error)
        if min(pixels.shape[:2]) < smallest:
            height, width = pixels.shape[:2]
            return f"{name} has {width} x {height} pixels, fewer than {smallest}"
        label = 0 if names is None else names.index(name.split("/")[0])
        return Photo(name, label, _scales(pixels, smallest))

    with ThreadPoolExecutor() as pool:
        loaded = list(pool.map(load, files))
    photos = [photo for photo in loaded if isinstance(photo, Photo)]
    skipped = [reason for reason in loaded if isinstance(reason, str)]
    if not photos:
        raise ValueError(
            f"{source} contains no photo that can be used: {_first(skipped)}"
        )
    if skipped:
        LOGGER.warning(
            "%d of %d photos are skipped: %s", len(skipped), len(files), _first(skipped)
        )
    held = [photo for photo in photos if _draw(photo.name) < held_out]
    train = [photo for photo in photos if _draw(photo.name) >= held_out]
    return Collection(train or held, held or train[:1], names)


def _first(reasons: Sequence[str]) -> str:
    """A few of the reasons, and how many more there are."""
    more = len(reasons) - SHOWN
    return "; ".join([*reasons[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _files(source: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Name and content, or path, of every picture, sorted by name."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(source).as_posix(), path
        return
    if not zipfile.is_zipfile(source):
        raise ValueError(f"{source} is neither a folder nor a .zip file")
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(SUFFIXES):
                yield name, archive.read(name)


def _decode(name: str, content: bytes | Path) -> Pixels:
    if isinstance(content, bytes):
        decoded = decode(name, content)
    else:
        decoded = decode(content)
    return to_levels(show(decoded, convert=True).picture)


def _scales(pixels: Pixels, smallest: int) -> tuple[Pixels, ...]:
    scales = [pixels]
    for _ in range(HALVINGS):
        height, width = (n // 2 * 2 for n in scales[-1].shape[:2])
        if min(height, width) // 2 < smallest:
            break
        blocks = scales[-1][:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
        scales.append(np.rint(blocks.mean((1, 3))).astype(np.uint8))
    return tuple(scales)


def _draw(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
