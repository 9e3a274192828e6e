"""The pictures of a folder, grouped by shape."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.folder.naming import name_outputs
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.pictures.finding import find_pictures
from pigdm_jax.pictures.formats import SUFFIXES
from pigdm_jax.pictures.jpeg_files import read_jpeg_header

READERS = 16


class FolderEntry(NamedTuple):
    """One picture of a folder.

    Attributes:
      name: its path relative to the folder, with "/".
      path: its path.
      output: path of its restoration, relative to the output folder; several samples
        have suffixes.
      size: its height and width.
      depth: bytes of a pixel.
    """

    name: str
    path: Path
    output: str
    size: tuple[int, int] = (0, 0)
    depth: int = 3


class Shape(NamedTuple):
    """Properties that pictures must share to be restored by one program.

    Attributes:
      size: height and width, padding included.
      subsampling: of JPEG files if their headers are read, else "".
      bits: a channel of their files.
      profiled: whether their colours are converted to sRGB and back.
      grey: whether they have no colour, if that matters.
    """

    size: tuple[int, int]
    subsampling: str
    bits: int = 8
    profiled: bool = False
    grey: bool = False


class Listing(NamedTuple):
    """A folder's pictures.

    Attributes:
      groups: the pictures of each shape, in alphabetical order.
      broken: for pictures whose headers cannot be read, the reason.
      left_out: what else there is, in a sentence; "" for nothing.
    """

    groups: dict[Shape, list[FolderEntry]]
    broken: dict[FolderEntry, str]
    left_out: str = ""


def list_folder(
    folder: Path,
    out: Path,
    *,
    recursive: bool = False,
    reads_header: bool = False,
    splits_grey: bool = False,
    pad: int = 1,
) -> Listing:
    """List every picture in a folder; reads headers only.

    Args:
      folder: the folder to search.
      out: the output folder, which is skipped.
      recursive: whether its sub-folders are searched, too.
      reads_header: whether pictures are also grouped by JPEG subsampling.
      splits_grey: whether grey pictures are groups of their own.
      pad: sides are padded to multiples of this.

    Raises:
      ValueError: if there is no picture.
    """
    paths, left_out = _search(folder, out, recursive)
    if not paths:
        others = f"; {left_out}" if left_out else ""
        raise ValueError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}){others}")
    names = [path.relative_to(folder) for path in paths]
    entries = [
        FolderEntry(name.as_posix(), path, output)
        for name, path, output in zip(names, paths, name_outputs(names), strict=True)
    ]

    groups: dict[Shape, list[FolderEntry]] = {}
    broken: dict[FolderEntry, str] = {}
    with ThreadPoolExecutor(READERS) as readers:
        shapes = readers.map(
            partial(_read_shape, reads_header, splits_grey, pad), entries
        )
        for entry, shape in shapes:
            if isinstance(shape, str):
                broken[entry] = shape
            else:
                groups.setdefault(shape, []).append(entry)
    return Listing(dict(sorted(groups.items())), broken, left_out)


def _search(folder: Path, out: Path, recursive: bool) -> tuple[list[Path], str]:
    """The pictures of a folder, sorted, and what is left out, in a sentence."""
    found, nested, others, hidden = find_pictures(folder, recursive=recursive, skip=out)
    kinds = {
        f"{nested} picture{'s' * (nested != 1)} in sub-folders (--recursive restores "
        "them)": nested,
        f"{others} file{'s' * (others != 1)} of other kinds": others,
        f"{hidden} hidden file{'s' * (hidden != 1)}": hidden,
    }
    said = ", ".join(text for text, count in kinds.items() if count)
    return found, f"left out: {said}" if said else ""


def _read_shape(
    reads_header: bool, splits_grey: bool, pad: int, entry: FolderEntry
) -> tuple[FolderEntry, Shape | str]:
    """The entry with its size, and its shape, or the reason why there is none."""
    try:
        header = read_header(entry.path)
        kind = read_jpeg_header(entry.path).subsampling if reads_header else ""
    except ValueError as error:
        return entry, str(error)
    height, width = header.size
    padded = (height + -height % pad, width + -width % pad)
    shape = Shape(
        padded, kind, header.bits, header.profiled, splits_grey and header.grey
    )
    depth = (1 if header.grey else 3) * header.bits // 8
    return entry._replace(size=header.size, depth=depth), shape


def own_part(listing: Listing, process: int, processes: int) -> Listing:
    """One process's part of a folder; the parts of all processes make up the whole."""

    def own(items: list, offset: int = 0) -> list:
        return items[(process - offset) % processes :: processes]

    groups = {
        shape: own(entries, offset)
        for offset, (shape, entries) in enumerate(listing.groups.items())
    }
    broken = dict(own(list(listing.broken.items())))
    groups = {shape: part for shape, part in groups.items() if part}
    return Listing(groups, broken, listing.left_out)
