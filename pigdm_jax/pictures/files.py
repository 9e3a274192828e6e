"""Pictures in files: the one place where [0, 1], 8 bits and [-1, 1] meet."""

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

# Half a step of 8 bits either way, spread evenly: the rounding error's standard
# deviation, in units of the [-1, 1] image.
ROUNDING_STD = 2 / 255 / 12**0.5

ORIENTATION = 0x0112  # the EXIF tag
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: str | Path) -> Float[np.ndarray, "H W 3"]:
    """A picture file as a colour image in [-1, 1], upright, transparency over white.

    Raises:
      ValueError: if the file is missing, or is no picture that can be decoded.
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
    """Height and width of a picture as `read_image` gives it, from its header.

    Raises:
      ValueError: if the file is missing or is no picture.
    """
    with _opened(path, decode=False) as picture:
        width, height = picture.size
        # For PNG files without it, Pillow would decode all pixels to be sure.
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
    """A mask file: 1 (kept) where it is light, 0 (hidden) where it is dark.

    Raises:
      ValueError: if the file is missing or no picture, or hides nothing or all.
    """
    with _opened(path) as picture:
        mask = np.asarray(picture.convert("L")) >= 128
    if mask.all() or not mask.any():
        kept = "everything" if mask.all() else "nothing"
        raise ValueError(
            f"the mask {path} keeps {kept}: paint black what is to be filled in, white "
            "what is to be kept"
        )
    return mask.astype(np.float32)


def read_kernel(path: str | Path) -> Float[np.ndarray, "kh kw"]:
    """A blur kernel from a grey picture, scaled to sum 1.

    Raises:
      ValueError: if the file is missing, no picture, or black all over.
    """
    with _opened(path) as picture:
        kernel = np.asarray(picture.convert("L"), np.float64)
    if not kernel.any():
        raise ValueError(f"the kernel {path} is black all over")
    return kernel / kernel.sum()


class JpegHeader(NamedTuple):
    """How a JPEG file was compressed.

    Attributes:
      tables: luma and chroma quantisation steps, the frequency down before across.
      subsampling: "4:4:4", "4:2:2" or "4:2:0".
    """

    tables: tuple[Int[np.ndarray, "8 8"], Int[np.ndarray, "8 8"]]
    subsampling: str


def read_jpeg_header(path: str | Path) -> JpegHeader:
    """How a JPEG file was compressed, as its own header tells; grey counts as 4:4:4.

    Raises:
      ValueError: if the file is missing or no JPEG file, or is one whose blocks do not
        lie as `pigdm_jax.operators.jpeg_codec` lays them.
    """
    with _opened(path) as picture:
        if picture.format != "JPEG":
            raise ValueError(f"{path} is no JPEG file, so it tells no quality")
        if picture.getexif().get(ORIENTATION, 1) != 1:
            raise ValueError(
                f"{path} is shown turned (EXIF); turn it without loss, as jpegtran does"
            )
        quantization: dict[int, list[int]] = getattr(picture, "quantization", {})
        tables = [np.reshape(t, (8, 8)) for t in quantization.values()]
        if picture.mode == "L":
            return JpegHeader((tables[0], tables[0]), "4:4:4")
        sampling = JpegImagePlugin.get_sampling(picture)
        if picture.mode != "RGB" or sampling not in (0, 1, 2):
            raise ValueError(
                f"{path} has colours that are neither 4:4:4, 4:2:2 nor 4:2:0"
            )
        return JpegHeader(
            (tables[0], tables[-1]), ("4:4:4", "4:2:2", "4:2:0")[sampling]
        )


def read_parameter(kind: str, path: str) -> Any:
    """A file that an operator's parameter names, as `operators.parse` wants it read.

    Args:
      kind: "mask", "kernel" or "JPEG".
      path: of the file.

    Raises:
      ValueError: as the reader of the kind.
    """
    readers = {"mask": read_mask, "kernel": read_kernel, "JPEG": read_jpeg_header}
    return readers[kind](path)


def read_jpeg_coefficients(
    path: str | Path,
) -> tuple[Float[np.ndarray, "rows columns 8 8"], ...] | None:
    """The quantised coefficients in a JPEG file: luma, and chroma unless it is grey.

    Needs jpeglib (`pip install 'pigdm-jax[jpeg]'`), and is None without it.
    """
    try:
        import jpeglib
    except ImportError:
        return None
    file = jpeglib.read_dct(str(path))
    planes = [file.Y] if file.Cb is None else [file.Y, file.Cb, file.Cr]
    return tuple(np.asarray(plane, np.float32) for plane in planes)


def to_uint8(image: Image) -> UInt8[np.ndarray, "H W C"]:
    """An image in [-1, 1] as 8-bit values, clipped and rounded."""
    return np.rint((np.clip(np.asarray(image), -1, 1) + 1) * 127.5).astype(np.uint8)


def from_uint8(pixels: UInt8[AnyArray, "H W C"]) -> Float[np.ndarray, "H W C"]:
    """8-bit values as an image in [-1, 1]."""
    return np.asarray(pixels, np.float32) / np.float32(127.5) - 1


def to_picture(image: Image) -> PillowImage.Image:
    """An image in [-1, 1], of one or three channels, as a Pillow image."""
    pixels = to_uint8(image)
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def write_picture(path: str | Path, image: Image | PillowImage.Image) -> None:
    """Write an image in [-1, 1], or a Pillow one; the file appears whole or not at all.

    Whole also after a power loss: the bytes are on disk before the name is.

    Raises:
      ValueError: if the place cannot be written to or the ending is no picture's.
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
    """The picture, or only its header, or one sentence why there is none."""
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
