"""Reading and writing pictures: the only conversion between 8 bits and [-1, 1]."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image as PillowImage
from PIL import ImageOps, JpegImagePlugin, UnidentifiedImageError

from pigdm_jax.core.types import AnyArray, Image

# Standard deviation of the error of rounding to 8 bits, which is uniform over one step,
# in units of the [-1, 1] image.
ROUNDING_STD = 2 / 255 / 12**0.5

ORIENTATION = 0x0112  # the EXIF tag
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: str | Path) -> Float[np.ndarray, "H W 3"]:
    """Read a picture as a colour image in [-1, 1].

    It is turned upright, and transparent pixels are blended with white.

    Raises:
      ValueError: if the file is missing or cannot be decoded as a picture.
    """
    with _opened(path) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith(("I;16", "F")) or picture.mode == "I":
            raise ValueError(
                f"{path} has more than 8 bits a channel; save it as an 8-bit picture"
            )
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = PillowImage.new("RGBA", picture.size, "white")
            picture = PillowImage.alpha_composite(white, picture)
        return from_uint8(np.asarray(picture.convert("RGB")))


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the image that `read_image` returns, from the header.

    Raises:
      ValueError: if the file is missing or is no picture.
    """
    with _opened(path, decode=False) as picture:
        width, height = picture.size
        # For a PNG file without EXIF, `getexif` would decode all pixels to look for it.
        has_exif = picture.format != "PNG" or "exif" in picture.info
        turned = has_exif and picture.getexif().get(ORIENTATION, 1) >= 5
    return (width, height) if turned else (height, width)


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


def read_mask(path: str | Path) -> Float[np.ndarray, "H W"]:
    """Read a mask: 1 (keep) where it is light, 0 (fill in) where it is dark.

    Raises:
      ValueError: if the file is missing or no picture, or hides no pixel or all.
    """
    with _opened(path) as picture:
        mask = np.asarray(picture.convert("L")) >= 128
    if mask.all() or not mask.any():
        kept = "everything" if mask.all() else "nothing"
        raise ValueError(
            f"the mask {path} keeps {kept}: paint black the pixels to fill in, white "
            "the pixels to keep"
        )
    return mask.astype(np.float32)


def read_kernel(path: str | Path) -> Float[np.ndarray, "kh kw"]:
    """Read a blur kernel from a grey picture and scale it to sum 1.

    Raises:
      ValueError: if the file is missing, no picture, or entirely black.
    """
    with _opened(path) as picture:
        kernel = np.asarray(picture.convert("L"), np.float64)
    if not kernel.any():
        raise ValueError(f"the kernel {path} is entirely black")
    return kernel / kernel.sum()


class JpegHeader(NamedTuple):
    """How a JPEG file was compressed.

    Attributes:
      tables: luma and chroma quantisation steps, vertical frequency first.
      subsampling: "4:4:4", "4:2:2" or "4:2:0".
    """

    tables: tuple[Int[np.ndarray, "8 8"], Int[np.ndarray, "8 8"]]
    subsampling: str


def read_jpeg_header(path: str | Path) -> JpegHeader:
    """Read the compression parameters of a JPEG file; a grey one counts as 4:4:4.

    Raises:
      ValueError: if the file is missing or no JPEG file, or has a block layout that
        `pigdm_jax.operators.jpeg_codec` does not support.
    """
    with _opened(path) as picture:
        if picture.format != "JPEG":
            raise ValueError(
                f"{path} is no JPEG file, so its header gives no quality; write it in "
                "the task, for example jpeg:10"
            )
        if picture.getexif().get(ORIENTATION, 1) != 1:
            raise ValueError(
                f"{path} is rotated by its EXIF tag; rotate its blocks without loss "
                "first, for instance by jpegtran"
            )
        quantization: dict[int, list[int]] = getattr(picture, "quantization", {})
        tables = [np.reshape(t, (8, 8)) for t in quantization.values()]
        if picture.mode == "L":
            return JpegHeader((tables[0], tables[0]), "4:4:4")
        sampling = JpegImagePlugin.get_sampling(picture)
        if picture.mode != "RGB" or sampling not in (0, 1, 2):
            raise ValueError(
                f"{path} has a colour layout that is neither 4:4:4, 4:2:2 nor 4:2:0"
            )
        return JpegHeader(
            (tables[0], tables[-1]), ("4:4:4", "4:2:2", "4:2:0")[sampling]
        )


def read_parameter(kind: str, path: str) -> Any:
    """Read a file that a parameter of an operator names; for `operators.parse`.

    Args:
      kind: "mask", "kernel" or "JPEG".
      path: the file.

    Raises:
      ValueError: as `read_mask`, `read_kernel` or `read_jpeg_header`.
    """
    readers = {"mask": read_mask, "kernel": read_kernel, "JPEG": read_jpeg_header}
    return readers[kind](path)


def read_jpeg_coefficients(
    path: str | Path,
) -> tuple[Float[np.ndarray, "rows columns 8 8"], ...] | None:
    """Read the quantised coefficients in a JPEG file: luma, and chroma if it has any.

    Returns None without jpeglib (`pip install 'pigdm-jax[jpeg]'`).
    """
    try:
        import jpeglib
    except ImportError:
        return None
    file = jpeglib.read_dct(str(path))
    planes = [file.Y] if file.Cb is None else [file.Y, file.Cb, file.Cr]
    return tuple(np.asarray(plane, np.float32) for plane in planes)


def to_uint8(image: Image) -> UInt8[np.ndarray, "H W C"]:
    """Clip an image in [-1, 1] and round it to 8-bit values."""
    return np.rint((np.clip(np.asarray(image), -1, 1) + 1) * 127.5).astype(np.uint8)


def from_uint8(pixels: UInt8[AnyArray, "H W C"]) -> Float[np.ndarray, "H W C"]:
    """8-bit values as an image in [-1, 1]."""
    return np.asarray(pixels, np.float32) / np.float32(127.5) - 1


def to_picture(image: Image) -> PillowImage.Image:
    """An image in [-1, 1], of one or three channels, as a Pillow image."""
    pixels = to_uint8(image)
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def write_picture(path: str | Path, image: Image | PillowImage.Image) -> None:
    """Write an image in [-1, 1], or a Pillow one, atomically.

    The file is complete or absent, also after a power loss: it is synced to disk under
    a temporary name and then renamed.

    Raises:
      ValueError: if the file cannot be written, or its suffix is not a picture's.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        picture = image if isinstance(image, PillowImage.Image) else to_picture(image)
        picture.save(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: str | Path, decode: bool = True) -> Iterator[PillowImage.Image]:
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
