"""Mixtures of colour channels, and colour to grey for colourisation."""

import numpy as np
from numpy.typing import ArrayLike

from pigdm_jax.operators.base import ImageShape, check_image_shape
from pigdm_jax.operators.kronecker import Separable, separable
from pigdm_jax.operators.named import Named


def channel_mix(image_shape: ImageShape, matrix: ArrayLike) -> Separable:
    """Every pixel's channels times a matrix.

    Args:
      image_shape: (height, width, channels) of the image.
      matrix: (new channels, channels).

    Raises:
      ValueError: if the matrix is not of that shape.
    """
    return separable(image_shape, channels=np.asarray(matrix, np.float64))


def grayscale(image_shape: ImageShape) -> Separable:
    """The mean of the three channels, as an image of one channel.

    Raises:
      ValueError: if the image does not have three channels.
    """
    image_shape = check_image_shape(image_shape)
    if image_shape[2] != 3:
        raise ValueError(f"grayscale needs three channels, got {image_shape[2]}")
    return channel_mix(image_shape, np.full((1, 3), 1 / 3))


GRAYSCALE = Named("grayscale", grayscale, "The mean of the colours.")
