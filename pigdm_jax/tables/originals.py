"""The images of a table: chosen from a folder, cropped, and kept as files."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pigdm_jax.folder.listing import FolderEntry, list_folder
from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.levels import from_levels
from pigdm_jax.pictures.squares import center_crop
from pigdm_jax.pictures.writing import write_picture
from pigdm_jax.tables.table import TableRow

READERS = 8


def list_images(folder: Path, out: Path) -> list[FolderEntry]:
    """All images of a folder and of its sub-folders, in the order of their names.

    Args:
      folder: of the images.
      out: a folder to skip.

    Raises:
      ValueError: if there is none, or one cannot be read.
    """
    listing = list_folder(folder, out, recursive=True)
    for reason in listing.broken.values():
        raise ValueError(f"{reason}; a table needs all of its images")
    entries = [entry for group in listing.groups.values() for entry in group]
    return sorted(entries, key=lambda entry: entry.name)


def choose(
    entries: Sequence[FolderEntry], row: TableRow, limit: int | None
) -> list[FolderEntry]:
    """The images of a row.

    Args:
      entries: all images.
      row: with their number, and how they are picked.
      limit: their largest number; None for no limit.
    """
    chosen = list(entries)
    for most in (row.images, limit):
        count = len(chosen) if most is None else min(most, len(chosen))
        if row.pick == "first":
            chosen = chosen[:count]
        else:
            chosen = [chosen[i * len(chosen) // count] for i in range(count)]
    return chosen


def check_sizes(entries: Sequence[FolderEntry], crop: int) -> None:
    """Refuse images that are smaller than the crop.

    Raises:
      ValueError: if there are any.
    """
    small = [entry for entry in entries if min(entry.size) < crop]
    if small:
        height, width = small[0].size
        raise ValueError(
            f"{len(small)} of {len(entries)} images are smaller than the crop of "
            f"{crop} x {crop} pixels, {small[0].name} with {height} x {width} for one; "
            "leave them out, or choose a smaller --size"
        )


def write_originals(
    entries: Sequence[FolderEntry],
    crop: int,
    folder: Path,
    scratch: Path,
    process: int = 0,
    processes: int = 1,
) -> None:
    """Crop images and write them as .png files, unless they are there already.

    Every process makes sure of all images, and begins at another one, so that each
    makes about its part of them if they run at the same time.

    Args:
      entries: the images.
      crop: side of the squares.
      folder: to write to.
      scratch: a folder on the same disk for what is not finished; removed in the end.
      process: index of this process.
      processes: their number.

    Raises:
      ValueError: if an image cannot be read, or a file cannot be written.
    """
    first = process * len(entries) // processes
    write = partial(_write_original, crop, folder, scratch)
    try:
        with ThreadPoolExecutor(READERS) as threads:
            for _ in threads.map(write, [*entries[first:], *entries[:first]]):
                pass
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_original(crop: int, folder: Path, scratch: Path, entry: FolderEntry) -> None:
    path = folder / entry.output
    # A file appears with all of its content, so what is there is whole.
    if path.exists() and path.stat().st_mtime >= entry.path.stat().st_mtime:
        return
    image = from_levels(center_crop(_pixels(entry.path), crop))
    place = scratch / entry.output
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(place, image)
        os.replace(place, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None


def _pixels(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a file in 8 bits, without alpha and profile, as in ADM's code."""
    pixels = decode(path).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
