"""Opening picture files."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

ORIENTATION = 0x0112  # the EXIF tag
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@contextmanager
def opened(path: str | Path, decode: bool = True) -> Iterator[PillowImage.Image]:
    """Open a picture, or only its header; errors become ValueError in one sentence."""
    try:
        with PillowImage.open(path) as picture:
            if decode:
                picture.load()
            yield picture
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture that can be read") from None
    except (OSError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from None


def digest(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
      ValueError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
