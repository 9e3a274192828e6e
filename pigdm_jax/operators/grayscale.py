"""Colour to grey, for colourisation."""

import numpy as np

from pigdm_jax.operators.base import ImageShape, check_image_shape
from pigdm_jax.operators.separable import Separable, separable


def grayscale(image_shape: ImageShape) -> Separable:
    """The mean of the three channels, as an image of one channel.

    Raises:
      ValueError: if the image does not have three channels.
    """
    image_shape = check_image_shape(image_shape)
    if image_shape[2] != 3:
        raise ValueError(f"grayscale needs three channels, got {image_shape[2]}")
    return separable(image_shape, channels=np.full((1, 3), 1 / 3))
