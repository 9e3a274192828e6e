"""The pictures of a folder, grouped by shape."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.pictures.jpeg_files import read_jpeg_header
from pigdm_jax.pictures.opening import SUFFIXES
from pigdm_jax.pictures.reading import read_size

READERS = 16


class Entry(NamedTuple):
    """One picture of a folder.

    Attributes:
      name: its path relative to the folder, with "/".
      path: its path.
      output: path of its restoration, relative to the output folder.
      size: its height and width.
    """

    name: str
    path: Path
    output: str
    size: tuple[int, int] = (0, 0)


class Shape(NamedTuple):
    """Properties that pictures must share to be restored by one program.

    Attributes:
      size: height and width, padding included.
      subsampling: of JPEG files if their headers are read, else "".
    """

    size: tuple[int, int]
    subsampling: str


class Listing(NamedTuple):
    """A folder's pictures.

    Attributes:
      groups: the pictures of each shape, in alphabetical order.
      broken: for pictures whose headers cannot be read, the reason.
    """

    groups: dict[Shape, list[Entry]]
    broken: dict[Entry, str]


def list_folder(
    folder: Path, out: Path, *, reads_header: bool = False, pad: int = 1
) -> Listing:
    """List every picture in a folder and its sub-folders; reads headers only.

    Args:
      folder: the folder to search.
      out: the output folder, which is skipped.
      reads_header: whether pictures are also grouped by JPEG subsampling.
      pad: sides are padded to multiples of this.

    Raises:
      ValueError: if there is no picture.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and out.resolve() not in path.resolve().parents
    )
    if not paths:
        raise ValueError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    alike = Counter(path.with_suffix("") for path in paths)
    entries = [
        Entry(
            path.relative_to(folder).as_posix(),
            path,
            # a.jpg and a.png must not be written to the same file.
            _png(path.relative_to(folder), whole=alike[path.with_suffix("")] > 1),
        )
        for path in paths
    ]

    groups: dict[Shape, list[Entry]] = {}
    broken: dict[Entry, str] = {}
    with ThreadPoolExecutor(READERS) as readers:
        shapes = readers.map(partial(_read_shape, reads_header, pad), entries)
        for entry, shape in shapes:
            if isinstance(shape, str):
                broken[entry] = shape
            else:
                groups.setdefault(shape, []).append(entry)
    return Listing(dict(sorted(groups.items())), broken)


def _read_shape(
    reads_header: bool, pad: int, entry: Entry
) -> tuple[Entry, Shape | str]:
    """The entry with its size, and its shape, or the reason why there is none."""
    try:
        height, width = read_size(entry.path)
        kind = read_jpeg_header(entry.path).subsampling if reads_header else ""
    except ValueError as error:
        return entry, str(error)
    padded = (height + -height % pad, width + -width % pad)
    return entry._replace(size=(height, width)), Shape(padded, kind)


def own_part(listing: Listing, process: int, processes: int) -> Listing:
    """One process's part of a folder; the parts of all processes make up the whole."""

    def own(items: list, offset: int = 0) -> list:
        return items[(process - offset) % processes :: processes]

    groups = {
        shape: own(entries, offset)
        for offset, (shape, entries) in enumerate(listing.groups.items())
    }
    broken = dict(own(list(listing.broken.items())))
    return Listing({shape: part for shape, part in groups.items() if part}, broken)


def _png(path: Path, *, whole: bool) -> str:
    name = f"{path.name}.png" if whole else f"{path.stem}.png"
    return path.with_name(name).as_posix()
