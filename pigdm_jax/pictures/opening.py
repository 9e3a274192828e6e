"""Opening picture files: which formats, how large, and what is refused."""

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from pigdm_jax.core.paths import check_readable
from pigdm_jax.core.text import one_line
from pigdm_jax.pictures.formats import READ

File = io.BufferedReader | io.BytesIO

MOST_PIXELS = 178_956_970  # beyond which Pillow takes a file for an attack
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Tags of TIFF files.
DNG_VERSION, SUBFILE_TYPE, REDUCED = 50706, 254, 1

# MOST_PIXELS is the limit; half of it is no reason to warn.
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)


class Opened(NamedTuple):
    """A picture, and the file that it is read from."""

    picture: PillowImage.Image
    file: File


@contextmanager
def opened(path: str | Path, content: bytes | None = None) -> Iterator[Opened]:
    """Open a picture, whose header is read.

    Args:
      path: of the file.
      content: of the file, if it is not to be opened.

    Raises:
      ValueError: in one sentence, if it is missing, is no picture that can be read, has
        too many pixels, or has several pictures.
    """
    if content is None:
        check_readable(path)
    with ExitStack() as stack:
        with explained(path):
            # Not by its path: Pillow 13.0 maps the file then, and garbles a TIFF file
            # that is to be turned.
            file = open(path, "rb") if content is None else io.BytesIO(content)
            stack.enter_context(file)
            picture = stack.enter_context(_open(file))
            _check_single(picture)
        yield Opened(picture, file)


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn what decoders raise into ValueError, in one sentence.

    Args:
      path: of the file that is decoded.
    """
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not a picture that can be read; these can: "
            f"{', '.join(READ)}, HEIC"
        ) from None
    except PillowImage.DecompressionBombError:
        raise ValueError(
            f"{path} has more than {MOST_PIXELS // 10**6} million pixels, which is "
            "taken for an attack; cut or shrink it first"
        ) from None
    except RefusedError as error:
        raise ValueError(f"{path} {error}") from None
    # Decoders of files that are broken on purpose raise anything.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = one_line(str(reason))
        raise ValueError(f"{path} cannot be decoded: {reason}") from None


class RefusedError(Exception):
    """A file that is no single picture; the message follows its path."""


def _open(file: File) -> PillowImage.Image:
    """Open a file of READ, or a HEIC file by pillow-heif.

    Raises:
      UnidentifiedImageError: if it is neither.
      RefusedError: if pillow-heif is not installed, or a TIFF file is unusual.
    """
    try:
        return PillowImage.open(file, formats=READ)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        file.seek(0)
    if head[:4] in TIFF_HEADS:
        raise RefusedError(
            "is a TIFF file of a kind that is not read; save it as grey without alpha, "
            "or as RGB"
        )
    if head[4:8] != b"ftyp" or head[8:] not in HEIF_BRANDS:
        raise UnidentifiedImageError
    if importlib.util.find_spec("pillow_heif") is None:
        raise RefusedError("is a HEIC file, which needs pip install 'pigdm-jax[heic]'")
    import pillow_heif

    pillow_heif.register_heif_opener()
    return PillowImage.open(file, formats=("HEIF",))


def _check_single(picture: PillowImage.Image) -> None:
    """Refuse what is not one picture.

    Raises:
      RefusedError: if there are several, or a camera's raw data.
    """
    if picture.format == "MPO":  # a phone's photo, and a second view of it
        return
    if picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        if DNG_VERSION in tags or tags.get(SUBFILE_TYPE, 0) & REDUCED:
            raise RefusedError(
                "holds a camera's raw data; develop it first, and save a TIFF or PNG"
            )
    count = _pages(picture)
    if count > 1:
        raise RefusedError(
            f"holds {count} pictures (pages or frames); save the one that is to be "
            "restored in a file of its own"
        )


def _pages(picture: PillowImage.Image) -> int:
    """Number of pictures in a file; a TIFF's previews do not count."""
    count: int = getattr(picture, "n_frames", 1)
    if picture.format != "TIFF" or count == 1:
        return count
    previews = 0
    for page in range(1, count):
        picture.seek(page)
        tags = getattr(picture, "tag_v2", {})
        previews += tags.get(SUBFILE_TYPE, 0) & REDUCED
    picture.seek(0)
    return count - previews


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
