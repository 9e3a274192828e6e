"""JPEG against libjpeg, and its laws at every size, quality and subsampling."""

import io
from functools import cache

import jax
import jax.numpy as jnp
import jpeglib
import numpy as np
import pytest
from PIL import Image

from pigdm_jax import operators as ops
from pigdm_jax.operators.jpeg_blocks import TO_YCBCR, quality_tables
from pigdm_jax.operators.jpeg_codec import JpegCoefficients
from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.reading import read_image

QUALITIES = (5, 10, 20, 50, 90)


@cache
def measure():
    return jax.jit(lambda operator, x: operator.apply(x))


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all((one == two).all() for one, two in pairs)


@pytest.fixture(scope="module")
def photos(shared):
    paths = sorted((shared / "data/eval/kodak").glob("*.png"))[::4]
    return [read_image(path)[128:384, 128:384] for path in paths]


def encoded(x, quality, subsampling="4:2:0"):
    file = io.BytesIO()
    to_picture(x).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file


@pytest.mark.parametrize("quality", QUALITIES)
def test_luma_coefficients_are_those_of_libjpeg(photos, quality, tmp_path):
    same = total = 0
    for x in photos:
        path = tmp_path / "photo.jpg"
        path.write_bytes(encoded(x, quality).getvalue())
        theirs = jpeglib.read_dct(str(path)).Y
        ours = measure()(ops.jpeg(x.shape, quality), x).y
        same, total = same + (ours == theirs).sum(), total + theirs.size
    assert same / total >= 0.995


def test_whole_blocks_are_those_of_libjpeg_at_any_size(photos, tmp_path):
    x = photos[0][:117, :83]
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(x, 50).getvalue())
    theirs = jpeglib.read_dct(str(path))
    ours = measure()(ops.jpeg(x.shape, 50), x)
    assert [leaf.shape for leaf in ours] == [
        leaf.shape for leaf in (theirs.Y, theirs.Cb, theirs.Cr)
    ]
    assert (ours.y == theirs.Y)[: 117 // 8, : 83 // 8].mean() >= 0.995


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_decoding_is_that_of_libjpeg(photos, quality, tmp_path):
    path = tmp_path / "photo.jpg"
    for x in photos:
        path.write_bytes(encoded(x, quality, "4:4:4").getvalue())
        dct = jpeglib.read_dct(str(path))
        y = JpegCoefficients(*(jnp.float32(c) for c in (dct.Y, dct.Cb, dct.Cr)))
        ours = np.asarray((ops.jpeg(x.shape, quality, "4:4:4").pinv(y) + 1) * 127.5)
        ycbcr = ours @ TO_YCBCR.T + [0, 128, 128]
        # libjpeg clips luma, chroma and colours; elsewhere it rounds them.
        kept = np.all([(a > 0) & (a < 255) for a in (ours, ycbcr)], axis=(0, 3))
        assert kept.mean() > 0.8
        assert np.abs(ours - np.asarray(Image.open(path), float))[kept].max() < 3


@pytest.mark.parametrize("subsampling", ["4:2:2", "4:2:0"])
def test_decoding_has_the_luma_of_libjpeg(photos, subsampling):
    x = photos[0]
    decoded = np.asarray(Image.open(encoded(x, 50, subsampling)).convert("L"), float)
    operator = ops.jpeg(x.shape, 50, subsampling)
    ours = to_picture(operator.pinv(measure()(operator, x))).convert("L")
    # Not equal: libjpeg rounds pixels and smooths the chroma that it enlarges.
    assert np.abs(np.asarray(ours, float) - decoded).mean() < 1


def test_tables_are_those_of_libjpeg():
    grey = Image.new("RGB", (8, 8))
    for quality in range(1, 101):
        file = io.BytesIO()
        grey.save(file, "JPEG", quality=quality)
        for ours, theirs in zip(
            quality_tables(quality), Image.open(file).quantization.values(), strict=True
        ):
            assert list(ours.ravel()) == list(theirs)


def keeps_its_coefficients(operator, x):
    y = measure()(operator, jnp.asarray(x, jnp.float32))
    whole = all((leaf == jnp.round(leaf)).all() for leaf in jax.tree.leaves(y))
    return whole and equal(measure()(operator, operator.pinv(y)), y)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize(
    "shape", [(16, 16, 3), (17, 23, 3), (12, 8, 3), (35, 49, 3), (3, 1, 3), (9, 21, 1)]
)
def test_a_decoded_image_keeps_its_coefficients_at_any_size(shape, subsampling):
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(-0.8, 0.3, shape[0]), np.linspace(0, 0.5, shape[1]))
    images = [
        rng.uniform(-1, 1, shape),
        rng.uniform(-30, 30, shape),
        ramp[..., None] + rng.normal(0, 0.05, shape),
        np.full(shape, 0.2),
    ]
    for quality in (1, 10, 30, 75, 95, 100):
        operator = ops.jpeg(shape, quality, subsampling)
        for x in images:
            assert keeps_its_coefficients(operator, x), quality


@pytest.mark.parametrize("size", [(256, 256), (251, 246)])
def test_a_decoded_photo_keeps_its_coefficients(photos, size):
    for quality in (5, 10, 20, 50, 75, 90, 95, 98, 100):
        for subsampling in ("4:2:0", "4:4:4"):
            operator = ops.jpeg((*size, 3), quality, subsampling)
            for x in photos:
                x = x[: size[0], : size[1]]
                assert keeps_its_coefficients(operator, x), (quality, subsampling)


@pytest.mark.parametrize("seen", range(1, 8))
def test_cut_blocks_are_about_as_close_as_libjpegs(photos, seen):
    """Against libjpeg's rule, the border repeated, in the strip of cut blocks."""
    ours = theirs = 0
    for x in photos:
        x = np.asarray(x)[:, : 240 + seen]
        padded = np.pad(x, ((0, 0), (0, 16 - seen), (0, 0)), mode="edge")
        for quality in (10, 50, 90):
            cut = ops.jpeg(x.shape, quality)
            back = cut.pinv(measure()(cut, x))[:, 240:]
            ours += np.log(np.mean((back - x[:, 240:]) ** 2))
            whole = ops.jpeg(padded.shape, quality)
            back = whole.pinv(measure()(whole, padded))[:, 240 : 240 + seen]
            theirs += np.log(np.mean((back - x[:, 240:]) ** 2))
    # 1 dB, as a mean over photos and qualities.
    assert ours - theirs < 3 * len(photos) * np.log(10) / 10


def test_border_blocks_stay_close_to_the_image():
    x = np.random.default_rng(1).uniform(-0.2, 0.2, (8, 1, 1)).repeat(13, 1)
    operator = ops.jpeg(x.shape, 90)
    assert jnp.abs(operator.pinv(operator.apply(x.astype(np.float32))) - x).max() < 0.1


def test_given_tables_are_used():
    tables = (np.full((8, 8), 4), np.full((8, 8), 6))
    x = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)).astype(np.float32)
    y = ops.jpeg(x.shape, tables=tables).apply(x)
    finer = ops.jpeg(x.shape, tables=(tables[0] / 4, tables[1] / 6)).apply(x)
    np.testing.assert_allclose(y.y, finer.y / 4, atol=0.8)
    np.testing.assert_allclose(y.cb, finer.cb / 6, atol=0.8)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ops.jpeg((8, 8, 3), 0), "from 1 to 100, got 0"),
        (lambda: ops.jpeg((8, 8, 3), 101), "from 1 to 100"),
        (lambda: ops.jpeg((8, 8, 3), 10, "4:1:1"), "4:2:0"),
        (lambda: ops.jpeg((8, 8, 2)), "one channel or three"),
        (lambda: ops.jpeg((8, 8, 3), tables=[np.ones((8, 8))]), "two arrays"),
        (lambda: ops.jpeg((8, 8, 3), tables=[np.zeros((8, 8))] * 2), "at least 1"),
        (
            lambda: ops.jpeg((8, 8, 1)).pinv(
                ops.jpeg((8, 8, 1)).apply(jnp.zeros((8, 8, 1))), 0.1
            ),
            "not linear",
        ),
    ],
)
def test_a_bad_request_is_answered_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
