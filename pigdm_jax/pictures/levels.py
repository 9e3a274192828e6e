"""The only conversion between the levels of files and images in [-1, 1]."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

from pigdm_jax.core.types import AnyArray, Image

# Standard deviation of the error of rounding to 8 bits, which is uniform over one step,
# in units of the [-1, 1] image.
ROUNDING_STD = 2 / 255 / 12**0.5


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
