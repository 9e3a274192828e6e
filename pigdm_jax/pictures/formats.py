"""Formats of pictures: which are read, and which are written."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

# Pillow would open others, too, and run Ghostscript for some.
READ = ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "BMP", "GIF")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".mpo", ".tif", ".tiff", ".webp", ".avif", ".bmp"),
    *(".gif", ".heic", ".heif"),
)
"""Suffixes of pictures to read, in small letters."""


class Format(NamedTuple):
    """A format to write.

    Attributes:
      name: Pillow's.
      bits: a channel, at most.
      alpha: whether it may have an alpha channel.
      lossless: whether pixels are the same when it is read.
      options: for Pillow.
      metadata: bytes of EXIF and of XMP, at most.
      side: of a picture in pixels, at most.
    """

    name: str
    bits: int
    alpha: bool
    lossless: bool
    options: Mapping[str, Any] = MappingProxyType({})
    metadata: int = 2**31
    side: int = 2**31


PNG = Format("PNG", 16, True, True)
TIFF = Format("TIFF", 16, True, True)
JPEG = Format(
    *("JPEG", 8, False, False, {"quality": 95, "subsampling": "4:4:4"}),
    metadata=65_000,
    side=65_500,
)
WEBP = Format("WEBP", 8, True, True, {"lossless": True, "exact": True}, side=16_383)
WRITTEN = {
    ".png": PNG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": WEBP,
}
"""The formats to write, by suffix."""


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse a picture that is too large for a file's format.

    Raises:
      ValueError: if it is.
    """
    form = format_of(path)
    if max(height, width) > form.side:
        raise ValueError(
            f"--out {path}: {form.name} holds sides of at most {form.side} pixels, not "
            f"{height} x {width}; write a .png or .tif file"
        )


def format_of(path: Path) -> Format:
    """The format of a file to write.

    Raises:
      ValueError: if its suffix is not in WRITTEN.
    """
    if path.suffix.lower() not in WRITTEN:
        raise ValueError(
            f"cannot write {path}: its name must end in one of {', '.join(WRITTEN)}"
        )
    return WRITTEN[path.suffix.lower()]
