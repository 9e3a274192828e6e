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
from pigdm_jax.io import read_image, to_picture
from pigdm_jax.operators.jpeg import quality_tables

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


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2"])
def test_decoding_is_that_of_libjpeg(photos, subsampling):
    x = photos[0]
    decoded = np.asarray(Image.open(encoded(x, 50, subsampling)).convert("L"), float)
    ours = ops.jpeg(x.shape, 50, subsampling)
    ours = to_picture(ours.pinv(measure()(ours, x))).convert("L")
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


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("shape", [(17, 23, 3), (12, 8, 3), (35, 49, 3), (9, 21, 1)])
def test_a_decoded_image_keeps_its_coefficients_at_any_size(shape, subsampling):
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(-0.8, 0.3, shape[0]), np.linspace(0, 0.5, shape[1]))
    images = [
        rng.uniform(-1, 1, shape),
        ramp[..., None] + rng.normal(0, 0.05, shape),
        np.full(shape, 0.2),
    ]
    for quality in (1, 10, 30, 75, 95, 100):
        operator = ops.jpeg(shape, quality, subsampling)
        for x in images:
            y = measure()(operator, x.astype(np.float32))
            assert equal(measure()(operator, operator.pinv(y)), y), quality
            for leaf in jax.tree.leaves(y):
                assert (leaf == jnp.round(leaf)).all()


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
