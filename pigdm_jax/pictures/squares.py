"""Squares from the middle of pictures, as the networks for ImageNet are evaluated."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from pigdm_jax.core.checks import check_count


def center_crop(
    pixels: UInt8[np.ndarray, "H W 3"], size: int
) -> UInt8[np.ndarray, "side side 3"]:
    """The square in the middle of a picture, shrunk as for ADM.

    The picture is halved by averaging 2 x 2 pixels as long as its smaller side is at
    least twice the size, then shrunk by Pillow's bicubic filter until that side is the
    size, and cropped. A smaller picture is enlarged. Every step rounds to 8 bits.

    Args:
      pixels: of the picture, 8 bits a channel.
      size: side of the square.

    Returns:
      The pixels of the square.

    Raises:
      ValueError: if the size is no positive whole number.

    Reference: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis",
    2021; `center_crop_arr` in `guided_diffusion/image_datasets.py` of their code.

    Examples:
      >>> import numpy as np
      >>> center_crop(np.zeros((70, 50, 3), np.uint8), 16).shape
      (16, 16, 3)
    """
    check_count("the size of a crop", size)
    picture = PillowImage.fromarray(pixels)
    while min(picture.size) >= 2 * size:
        half = (picture.width // 2, picture.height // 2)
        picture = picture.resize(half, PillowImage.Resampling.BOX)
    scale = size / min(picture.size)
    shrunk = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(shrunk, PillowImage.Resampling.BICUBIC)
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return np.asarray(picture)[top : top + size, left : left + size]
