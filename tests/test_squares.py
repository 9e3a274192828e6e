"""The square crop of ADM against the published definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pigdm_jax.pictures.squares import center_crop


def reference(picture, size):
    """The definition in words of Pillow: box-halve, bicubic, crop."""
    while min(*picture.size) >= 2 * size:
        picture = picture.resize(tuple(x // 2 for x in picture.size), Image.BOX)
    scale = size / min(*picture.size)
    picture = picture.resize(
        tuple(round(x * scale) for x in picture.size), Image.BICUBIC
    )
    array = np.array(picture)
    top, left = (array.shape[0] - size) // 2, (array.shape[1] - size) // 2
    return array[top : top + size, left : left + size]


@settings(max_examples=40)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    size=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_every_pixel_is_that_of_the_definition(height, width, size, seed):
    shape = (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    cropped = center_crop(pixels, size)
    np.testing.assert_array_equal(cropped, reference(Image.fromarray(pixels), size))
    assert cropped.shape == (size, size, 3)


def test_a_square_of_the_right_size_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(center_crop(pixels, 32), pixels)


def test_a_crop_without_pixels_is_refused():
    with pytest.raises(ValueError, match="the size of a crop"):
        center_crop(np.zeros((8, 8, 3), np.uint8), 0)
