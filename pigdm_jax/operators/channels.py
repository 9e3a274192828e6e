"""Linear combinations of colour channels, among them colour to grey."""

import numpy as np
from numpy.typing import ArrayLike

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.operators.base import ImageShape, check_image_shape
from pigdm_jax.operators.kronecker import Separable, separable
from pigdm_jax.operators.named import Named


def channel_mix(image_shape: ImageShape, matrix: ArrayLike) -> Separable:
    """The channels of every pixel times a matrix.

    Args:
      image_shape: (height, width, channels) of the image.
      matrix: (new channels, channels).

    Returns:
      A linear operator to images of shape (height, width, new channels).

    Raises:
      ValueError: if the matrix does not have that shape.

    Examples:
      >>> from pigdm_jax import operators
      >>> red_and_blue = [[1, 0, 0], [0, 0, 1]]
      >>> operators.channel_mix((8, 8, 3), red_and_blue).measurement_shape
      (8, 8, 2)
    """
    return separable(image_shape, channels=as_numbers("matrix", matrix))


def grayscale(image_shape: ImageShape) -> Separable:
    """The mean of the three channels; its inversion is colourisation.

    Args:
      image_shape: (height, width, 3) of the image.

    Returns:
      A linear operator to images of shape (height, width, 1), H H^T = I / 3.

    Raises:
      ValueError: if the image does not have three channels.

    Examples:
      >>> from pigdm_jax import operators
      >>> operator = operators.grayscale((8, 8, 3))
      >>> operator.measurement_shape, round(operator.tight, 4)
      ((8, 8, 1), 0.3333)
    """
    image_shape = check_image_shape(image_shape)
    if image_shape[2] != 3:
        raise ValueError(f"grayscale needs three channels, got {image_shape[2]}")
    return channel_mix(image_shape, np.full((1, 3), 1 / 3))


GRAYSCALE = Named("grayscale", grayscale, "The mean of the colours.")
