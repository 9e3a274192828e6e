"""The only conversion between the levels of files and images in [-1, 1]."""

import numpy as np
from jaxtyping import Float, UInt
from PIL import Image as PillowImage

from pigdm_jax.core.types import AnyArray, Image

# Standard deviation of the error of rounding to 8 bits, which is uniform over one step,
# in units of the [-1, 1] image.
ROUNDING_STD = 2 / 255 / 12**0.5


def to_levels(image: Image, bits: int = 8) -> UInt[np.ndarray, "H W C"]:
    """Clip an image in [-1, 1] and round it to whole numbers of 8 or 16 bits."""
    half = (2**bits - 1) / 2
    levels = np.rint((np.clip(np.asarray(image), -1, 1) + 1) * half)
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def from_levels(levels: UInt[AnyArray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Whole numbers of 8 or 16 bits as values in [-1, 1]."""
    half = np.float32(np.iinfo(levels.dtype).max / 2)
    return np.asarray(levels, np.float32) / half - 1


def to_picture(image: Image) -> PillowImage.Image:
    """An image in [-1, 1], of one or three channels, as a Pillow image of 8 bits."""
    pixels = to_levels(image)
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
