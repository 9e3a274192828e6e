"""Reading pictures."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage
from PIL import ImageOps

from pigdm_jax.pictures.levels import from_uint8
from pigdm_jax.pictures.opening import ORIENTATION, opened


def read_image(path: str | Path) -> Float[np.ndarray, "H W 3"]:
    """Read a picture as a colour image in [-1, 1].

    It is turned upright, and transparent pixels are blended with white.

    Raises:
      ValueError: if the file is missing or cannot be decoded as a picture.
    """
    with opened(path) as picture:
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
    with opened(path, decode=False) as picture:
        width, height = picture.size
        # For a PNG file without EXIF, `getexif` would decode all pixels to look for it.
        has_exif = picture.format != "PNG" or "exif" in picture.info
        turned = has_exif and picture.getexif().get(ORIENTATION, 1) >= 5
    return (width, height) if turned else (height, width)
