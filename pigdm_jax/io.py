"""Pictures in files: the one place where [0, 1], 8 bits and [-1, 1] meet."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from pigdm_jax.types import Image

# Half a step of 8 bits either way, spread evenly: the rounding error's standard
# deviation, in units of the [-1, 1] image.
ROUNDING_STD = 2 / 255 / 12**0.5


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
        pixels = np.asarray(picture.convert("RGB"), np.float32)
    return pixels / 127.5 - 1


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


def to_uint8(image: Image) -> UInt8[np.ndarray, "H W C"]:
    """An image in [-1, 1] as 8-bit values, clipped and rounded."""
    return np.rint((np.clip(np.asarray(image), -1, 1) + 1) * 127.5).astype(np.uint8)


def to_picture(image: Image) -> PillowImage.Image:
    """An image in [-1, 1], of one or three channels, as a Pillow image."""
    pixels = to_uint8(image)
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def write_picture(path: str | Path, image: Image | PillowImage.Image) -> None:
    """Write an image in [-1, 1], or a Pillow one; the file appears whole or not at all.

    Raises:
      ValueError: if the place cannot be written to or the ending is no picture's.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        picture = image if isinstance(image, PillowImage.Image) else to_picture(image)
        picture.save(temporary)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: str | Path) -> Iterator[PillowImage.Image]:
    """The decoded picture, or one sentence why there is none."""
    try:
        with PillowImage.open(path) as picture:
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
