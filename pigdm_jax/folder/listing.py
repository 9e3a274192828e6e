"""What a folder holds: pictures, where their restorations go, groups of one shape."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.pictures.files import SUFFIXES, read_jpeg_header, read_size

READERS = 16


class Entry(NamedTuple):
    """One picture of a folder.

    Attributes:
      name: its path inside the folder, with "/".
      path: its path.
      output: where its restoration goes, inside the output folder.
      size: its height and width.
    """

    name: str
    path: Path
    output: str
    size: tuple[int, int] = (0, 0)


class Shape(NamedTuple):
    """What pictures of one program have in common.

    Attributes:
      size: height and width, padding included.
      subsampling: of JPEG files whose header is read, else "".
    """

    size: tuple[int, int]
    subsampling: str


class Listing(NamedTuple):
    """A folder's pictures.

    Attributes:
      groups: the pictures of each shape, in order of their names.
      broken: pictures whose header cannot be read, and why.
    """

    groups: dict[Shape, list[Entry]]
    broken: dict[Entry, str]


def list_folder(
    folder: Path, out: Path, *, reads_header: bool = False, pad: int = 1
) -> Listing:
    """Every picture in a folder and its sub-folders; no pixels are read.

    Args:
      folder: where to look.
      out: the output folder, which is not looked into.
      reads_header: whether JPEG subsampling matters.
      pad: sides are brought up to multiples of this.

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
            # a.jpg and a.png must not become the same file.
            _png(path.relative_to(folder), whole=alike[path.with_suffix("")] > 1),
        )
        for path in paths
    ]

    def header(entry: Entry) -> tuple[Entry, Shape] | tuple[Entry, str]:
        try:
            height, width = read_size(entry.path)
            kind = read_jpeg_header(entry.path).subsampling if reads_header else ""
        except ValueError as error:
            return entry, str(error)
        padded = (height + -height % pad, width + -width % pad)
        return entry._replace(size=(height, width)), Shape(padded, kind)

    groups: dict[Shape, list[Entry]] = {}
    broken: dict[Entry, str] = {}
    with ThreadPoolExecutor(READERS) as readers:
        for entry, shape in readers.map(header, entries):
            if isinstance(shape, str):
                broken[entry] = shape
            else:
                groups.setdefault(shape, []).append(entry)
    return Listing(dict(sorted(groups.items())), broken)


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
