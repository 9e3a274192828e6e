"""What visitors send: checked, and kept in a folder of their own until they leave."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image as PillowImage

from pigdm_jax.core.text import printable
from pigdm_jax.pictures.decoding import decode, read_header
from pigdm_jax.pictures.formats import SUFFIXES
from pigdm_jax.pictures.kept import show
from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.parameters import read_mask
from pigdm_jax.pictures.writing import write_picture

LONGEST_NAME = 100
SHOWN_SIDE = 1024  # of a picture that is only shown


class Limits(NamedTuple):
    """What a page accepts.

    Attributes:
      megabytes: of an uploaded file, at most.
      megapixels: of a photo and of its restoration, at most.
      waiting: restorations that wait for their turn, at most.
    """

    megabytes: float = 50
    megapixels: float = 16
    waiting: int = 20

    def check_pixels(self, height: int, width: int, what: str) -> None:
        """Refuse a picture that is too large.

        Raises:
          ValueError: if it is.
        """
        if height * width > self.megapixels * 1e6:
            raise ValueError(
                f"{what} has {height} x {width} pixels, more than the "
                f"{self.megapixels:g} megapixels that this page accepts; shrink or cut "
                "it, or start the page with a larger --megapixels"
            )


class Visitor:
    """One open page: its folder, and whether its restoration is to stop.

    Attributes:
      folder: for its files.
      stop: set to stop the restoration that runs or waits.
      photo: the uploaded photo; None if there is none.
      mask: the uploaded mask; None if there is none.
      planned: the choices and photo of the plan that is shown.
      plan: its text.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=root))
        self.stop = threading.Event()
        self.photo: Path | None = None
        self.mask: Path | None = None
        self.planned: Any = None
        self.plan = ""

    def keep_photo(self, file: str | Path, limits: Limits) -> Path:
        """Take over an uploaded photo, byte for byte; an earlier one is removed.

        Raises:
          ValueError: if it is no picture, or too large.
        """
        self.photo = self.planned = None
        self.photo = self._keep(file, limits, "photo")
        return self.photo

    def keep_mask(self, file: str | Path, limits: Limits) -> Path:
        """Take over an uploaded mask; an earlier one is removed.

        Raises:
          ValueError: if it is no picture, too large, or hides nothing or all.
        """
        self.mask = None
        path = self._keep(file, limits, "mask")
        read_mask(path)
        self.mask = path
        return path

    def _keep(self, file: str | Path, limits: Limits, what: str) -> Path:
        source = Path(file)
        size = source.stat().st_size
        if size > limits.megabytes * 1e6:
            raise ValueError(
                f"the {what} has {size / 1e6:.0f} MB, more than the "
                f"{limits.megabytes:g} MB that this page accepts"
            )
        folder = self.folder / what
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / safe_name(source.name)
        shutil.copyfile(source, path)
        try:
            # Of the header alone, before any pixel is decoded.
            limits.check_pixels(*read_header(path).size, f"the {what}")
        except ValueError as error:
            path.unlink()
            raise ValueError(str(error).replace(str(path), path.name)) from None
        return path

    def results_folder(self) -> Path:
        """An empty folder for results; those of before are removed."""
        folder = self.folder / "results"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def leave(self) -> None:
        """Stop the restoration and remove the files."""
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)


class Visitors:
    """The open pages, by the names that their browsers give them.

    Attributes:
      root: the folder of their folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Visitor:
        """The visitor of a name, who may be new."""
        with self._lock:
            if name not in self._known:
                self._known[name] = Visitor(self.root)
            return self._known[name]

    def forget(self, name: str) -> None:
        """A visitor has closed the page."""
        with self._lock:
            visitor = self._known.pop(name, None)
        if visitor is not None:
            visitor.leave()


def safe_name(name: str) -> str:
    """The name of an uploaded file, without what a file system or shell might act on.

    Examples:
      >>> from pigdm_jax.app.uploads import safe_name
      >>> safe_name("../a/my photo.JPG"), safe_name("-rf.png")
      ('my photo.JPG', 'photo-rf.png')
    """
    name = printable(name.replace("\\", "/").rpartition("/")[2]).replace("\\", "-")
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix.lower()}" not in SUFFIXES:
        # The content decides how it is read.
        stem, suffix = name, "png"
    stem = stem.strip().replace("{", "(").replace("}", ")")[:LONGEST_NAME]
    if not stem or stem[0] in "-.":
        stem = f"photo{stem}"
    return f"{stem}.{suffix}"


def shown(path: Path, side: int = SHOWN_SIDE) -> PillowImage.Image:
    """A photo as a browser can show it: 8 bits, sRGB, upright, of moderate size.

    Args:
      path: of the photo.
      side: its longer side is at most so many pixels.

    Raises:
      ValueError: if it is no picture.
    """
    picture = to_picture(show(decode(path), convert=True).picture).convert("RGB")
    picture.thumbnail((side, side), PillowImage.Resampling.BICUBIC)
    return picture


def hidden_by(layers: list[Shaped[np.ndarray, "..."]]) -> Bool[np.ndarray, "..."]:
    """Where layers of paint, with an alpha channel, are painted; of one size."""
    painted = [np.asarray(layer)[..., 3] >= 128 for layer in layers]
    return np.logical_or.reduce(painted) if painted else np.zeros((1, 1), bool)


def write_mask(
    hidden: Bool[np.ndarray, "h w"], size: tuple[int, int], path: Path
) -> Path:
    """Write what is painted as a mask: white is kept, black is filled in.

    Args:
      hidden: where paint is, on the photo as it is shown.
      size: height and width of the mask.
      path: of the file.

    Raises:
      ValueError: if nothing or everything is painted.
    """
    if not hidden.any():
        raise ValueError(
            "nothing is painted: paint over what is to be filled in, or upload a mask"
        )
    if hidden.all():
        raise ValueError("everything is painted: leave something of the photo")
    height, width = size
    painted = PillowImage.fromarray(np.where(hidden, 0, 255).astype(np.uint8))
    mask = painted.resize((width, height), PillowImage.Resampling.NEAREST)
    write_picture(path, mask)
    return path
