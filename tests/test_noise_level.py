"""Estimates of the noise in a picture file, and what was clipped from it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pigdm_jax.pictures.clipping import undo_clipping
from pigdm_jax.pictures.levels import ROUNDING_STD, from_levels, to_picture
from pigdm_jax.pictures.noise_level import estimate_noise
from pigdm_jax.pictures.reading import read_image

PHOTOS = sorted((Path(__file__).parent.parent / "benchmarks/photos").glob("*.png"))


def stored(x, sigma, seed=0):
    """A clean image in [-1, 1] with noise, sigma for pixels from 0 to 1, as a file."""
    noisy = x + 2 * sigma * np.random.default_rng(seed).standard_normal(x.shape)
    pixels = np.rint((np.clip(noisy, -1, 1) + 1) * 127.5)
    return (pixels / 127.5 - 1).astype(np.float32)


def framed(x, value):
    x = x.copy()
    x[:16] = x[-16:] = x[:, :16] = x[:, -16:] = value
    return x


def estimated(x):
    return estimate_noise(x, np.ones(x.shape, bool)) / 2


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("border", [None, 1, -1])
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_the_level_is_found_in_photos_with_and_without_borders(photo, border, sigma):
    x = read_image(photo)
    x = x if border is None else framed(x, border)
    assert abs(estimated(stored(x, sigma)) / sigma - 1) < (
        0.06 if sigma < 0.2 else 0.12
    )


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_a_clean_border_around_a_noisy_picture_does_not_count(sigma):
    x = read_image(PHOTOS[0])
    for value in (1, 51 / 255):
        y = framed(stored(x, sigma), np.float32(value))
        assert abs(estimated(y) / sigma - 1) < 0.06


def test_grey_pictures_in_three_channels_have_a_level_too():
    grey = read_image(PHOTOS[0]).mean(-1, keepdims=True)
    y = stored(grey, 0.05)
    assert abs(estimated(y) / 0.05 - 1) < 0.15
    assert estimated(np.repeat(y, 3, -1)) == estimated(y)


def test_a_clean_picture_has_the_noise_of_rounding_and_little_more():
    ramp = np.linspace(-0.9, 0.9, 64 * 64 * 3).reshape(64, 64, 3)
    assert estimated(stored(ramp, 0)) < 1.5 / 255
    for path in PHOTOS:
        assert ROUNDING_STD / 2 <= estimated(read_image(path)) < 0.03


@pytest.mark.parametrize("sigma", [0.05, 0.1])
@pytest.mark.parametrize("quality", [75, 95])
def test_noise_in_a_jpeg_file_counts_though_its_colours_are_smooth(quality, sigma):
    x = read_image(PHOTOS[0])
    file = io.BytesIO()
    to_picture(stored(x, sigma)).save(file, "jpeg", quality=quality, subsampling=2)
    with Image.open(file) as picture:
        y = from_levels(np.asarray(picture))
    assert 0.7 < estimated(y) / (np.std(y - x) / 2) < 1.6


def test_hidden_pixels_do_not_count():
    y = stored(read_image(PHOTOS[0]), 0.05)
    measured = np.ones(y.shape, bool)
    measured[40:60, 40:60] = False
    before = estimate_noise(y, measured)
    y[40:60, 40:60] = np.random.default_rng(1).uniform(-1, 1, (20, 20, 3))
    assert estimate_noise(y, measured) == before


def test_many_pixels_take_a_part_of_the_patches():
    y = stored(np.zeros((1200, 1000, 3)), 0.1)
    assert abs(estimated(y) / 0.1 - 1) < 0.02


@pytest.mark.parametrize("shape", [(2, 2, 3), (6, 6, 3), (5, 40, 1)])
def test_a_picture_too_small_or_empty_is_refused(shape):
    with pytest.raises(ValueError, match=r"--noise 0\.1"):
        estimated(stored(np.zeros(shape), 0.1))
    with pytest.raises(ValueError, match=r"--noise 0\.1"):
        estimated(np.ones((64, 64, 3), np.float32))


def undone(y, sigma, measured=None):
    measured = np.ones_like(y) if measured is None else measured
    return np.asarray(undo_clipping(y, np.float32(2 * sigma), measured))


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("level", [-1.0, -0.95, 0.0, 0.9, 1.0])
def test_the_mean_of_a_flat_area_is_restored(level, sigma):
    y = stored(np.full((96, 96, 3), level), sigma)
    before, after = y.mean() - level, undone(y, sigma).mean() - level
    assert abs(after) < 0.2 * sigma
    assert abs(after) <= abs(before) + 1e-3


def test_only_clipped_values_change_and_only_outwards():
    y = stored(read_image(PHOTOS[0]) * 1.2, 0.1)
    out = undone(y, 0.1)
    inside = np.abs(y) < 1
    np.testing.assert_array_equal(out[inside], y[inside])
    assert (out[y == 1] > 1).all() and (out[y == -1] < -1).all()
    assert np.abs(out).max() < 1 + 0.2 * 2


def test_clipping_is_undone_alike_at_white_and_black():
    y = stored(framed(read_image(PHOTOS[0]), 1), 0.1)
    np.testing.assert_allclose(undone(-y, 0.1), -undone(y, 0.1), atol=1e-5)


def test_a_clean_picture_hardly_changes():
    y = framed(read_image(PHOTOS[0]), 1)
    assert np.abs(undone(y, ROUNDING_STD / 2) - y).max() < 2 * ROUNDING_STD


def test_values_that_were_not_measured_do_not_count():
    y = stored(np.ones((32, 32, 3)), 0.1)
    measured = np.ones_like(y)
    measured[8:16] = 0
    a = undone(y, 0.1, measured)
    y[8:16] = -1
    b = undone(y, 0.1, measured)
    kept = measured == 1
    np.testing.assert_array_equal(a[kept], b[kept])
