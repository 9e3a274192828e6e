"""Picture files in and out, and how close two images are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pigdm_jax import psnr, read_image, ssim, write_picture
from pigdm_jax.operators import jpeg
from pigdm_jax.pictures.figures import side_by_side
from pigdm_jax.pictures.jpeg_files import read_jpeg_header
from pigdm_jax.pictures.levels import to_levels
from pigdm_jax.pictures.parameters import read_kernel, read_mask


def noise(shape=(12, 20, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_pictures_survive_a_round_trip(tmp_path):
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.float32 and image.min() >= -1 and image.max() <= 1
    np.testing.assert_array_equal(to_levels(image), pixels)
    write_picture(tmp_path / "b.png", jnp.asarray(image))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), pixels)
    np.testing.assert_array_equal(to_levels(np.full((1, 1, 1), 7.0)), 255)


def test_pictures_are_read_upright_in_colour_and_without_transparency(tmp_path):
    grey = Image.fromarray(noise((4, 6)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    grey.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png")
    assert turned.shape == (6, 4, 3)
    np.testing.assert_array_equal(
        to_levels(turned)[..., 0], np.rot90(np.asarray(grey), -1)
    )
    clear = np.dstack([noise((4, 6, 3)), np.zeros((4, 6), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), 1)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
def test_jpeg_headers_give_the_compression_parameters(subsampling, tmp_path):
    picture = Image.fromarray(noise((16, 24, 3)))
    path = tmp_path / "a.jpg"
    if subsampling == "grey":
        picture.convert("L").save(path, quality=35)
    else:
        picture.save(path, quality=35, subsampling=subsampling)
    header = read_jpeg_header(path)
    expected = jpeg((16, 24, 3), 35)
    np.testing.assert_array_equal(header.tables[0], expected.luma_table)
    if subsampling == "grey":
        assert header.subsampling == "4:4:4"
    else:
        np.testing.assert_array_equal(header.tables[1], expected.chroma_table)
        assert header.subsampling == subsampling


def test_files_without_a_usable_jpeg_header_are_refused(tmp_path):
    picture = Image.fromarray(noise((16, 24, 3)))
    picture.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no JPEG file"):
        read_jpeg_header(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(ValueError, match="without loss"):
        read_jpeg_header(tmp_path / "turned.jpg")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    with pytest.raises(ValueError, match="CMYK colours"):
        read_jpeg_header(tmp_path / "cmyk.jpg")


def test_masks_and_kernels_come_from_pictures(tmp_path):
    mask = np.where(noise((5, 7)) < 100, 0, 255).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask / 255)
    Image.fromarray(noise((3, 5))).save(tmp_path / "kernel.png")
    kernel = read_kernel(tmp_path / "kernel.png")
    np.testing.assert_allclose(kernel, noise((3, 5)) / noise((3, 5)).sum())


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no file"),
        (b"text", "not a picture"),
        (np.zeros((4, 4), np.int32), "more than 16 bits"),
    ],
)
def test_files_that_are_no_pictures_are_refused(content, message, tmp_path):
    path = tmp_path / "picture.tif"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value, message", [(255, "everything"), (0, "nothing")])
def test_masks_must_hide_something_and_keep_something(value, message, tmp_path):
    Image.new("L", (4, 4), value).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / "mask.png")
    if value == 0:
        with pytest.raises(ValueError, match="entirely black"):
            read_kernel(tmp_path / "mask.png")


def test_a_picture_is_written_atomically(tmp_path):
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(ValueError, match="must end in one of"):
        write_picture(tmp_path / "a.unknown", np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="cannot write"):
        write_picture(tmp_path / "no" / "a.png", np.zeros((2, 2, 3), np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_figures_hold_every_panel_at_one_height():
    figure = side_by_side(
        {"small": np.zeros((32, 16, 1)), "a long caption": np.ones((300, 300, 3))}
    )
    assert figure.height > 300 and figure.width > 150 + 300
    assert side_by_side({"one": np.zeros((8, 8, 3))}).width >= 256


def test_psnr_is_that_of_images_from_0_to_1():
    a = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)).astype(np.float32)
    b = a + 0.1
    expected = -10 * np.log10(np.mean(((np.clip(b, -1, 1) - a) / 2) ** 2))
    np.testing.assert_allclose(psnr(b, a), expected, rtol=1e-4)


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    x = jax.random.uniform(jax.random.key(0), (32, 32, 3), minval=-1, maxval=1)
    z = jax.random.normal(jax.random.key(1), x.shape)
    scores = [ssim(x + s * z, x) for s in (0.0, 0.1, 0.5)]
    assert abs(scores[0] - 1) < 1e-5 and scores[0] > scores[1] > scores[2]
