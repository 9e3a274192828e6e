"""Operators by name: what a task's text means, and how a wrong one is answered."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pigdm_jax import operators as ops
from pigdm_jax.operators import parse
from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.pictures.parameters import read_parameter

SHAPE = (16, 24, 3)


def same(a, b):
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, SHAPE), jnp.float32)
    one, two = a.apply(x), b.apply(x)
    assert a.image_shape == b.image_shape
    for leaf, other in zip(np.ravel(one), np.ravel(two), strict=True):
        np.testing.assert_array_equal(leaf, other)


@pytest.mark.parametrize(
    "text, make",
    [
        ("identity", lambda: ops.identity(SHAPE)),
        ("crop:4,6,1,2", lambda: ops.crop(SHAPE, 4, 6, 1, 2)),
        ("crop:4,6,left=2", lambda: ops.crop(SHAPE, 4, 6, 0, 2)),
        ("super_resolution:4", lambda: ops.super_resolution(SHAPE, 4)),
        (
            " super_resolution : 2 , bicubic ",
            lambda: ops.super_resolution(SHAPE, 2, "bicubic"),
        ),
        (
            "super_resolution:kernel=lanczos3,factor=2",
            lambda: ops.super_resolution(SHAPE, 2, "lanczos3"),
        ),
        ("inpaint:center,6", lambda: ops.inpaint(SHAPE, ops.center_mask(SHAPE, 6))),
        (
            "inpaint:random,0.3,7",
            lambda: ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.3, 7)),
        ),
        (
            "inpaint:freeform,,5",
            lambda: ops.inpaint(SHAPE, ops.freeform_mask(SHAPE, 5)),
        ),
        ("uniform_blur:5,reflect", lambda: ops.uniform_blur(SHAPE, 5, "reflect")),
        ("gaussian_blur:1.5", lambda: ops.gaussian_blur(SHAPE, 1.5)),
        ("gaussian_blur:1", lambda: ops.gaussian_blur(SHAPE, 1.0)),
        ("quantize:3", lambda: ops.quantize(SHAPE, 3)),
        (
            "low_dynamic_range:0.5,gamma,5",
            lambda: ops.low_dynamic_range(SHAPE, 0.5, "gamma", 5),
        ),
        (
            "grayscale | super_resolution:2",
            lambda: ops.chain(
                ops.grayscale(SHAPE), ops.super_resolution((16, 24, 1), 2)
            ),
        ),
    ],
)
def test_texts_mean_what_the_constructors_make(text, make):
    same(parse(text, SHAPE), make())


def test_jpeg_comes_last_in_a_chain():
    operator = parse("super_resolution:2,box | jpeg:30,4:4:4", SHAPE)
    assert not operator.linear
    assert operator.measurement_shape.y == (1, 2, 8, 8)


def test_files_are_named_in_texts(tmp_path):
    mask = np.zeros((16, 24), np.uint8)
    mask[:, 5:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    same(
        parse(f"inpaint:{tmp_path / 'mask.png'}", SHAPE, read_parameter),
        ops.inpaint(SHAPE, mask // 255),
    )
    Image.fromarray(np.full((1, 3), 9, np.uint8)).save(tmp_path / "kernel.png")
    same(
        parse(f"blur:{tmp_path / 'kernel.png'},reflect", SHAPE, read_parameter),
        ops.blur(SHAPE, np.full((1, 3), 1 / 3), "reflect"),
    )


@pytest.mark.parametrize("name", REGISTRY)
def test_every_operator_says_how_it_is_written(name):
    assert REGISTRY[name].usage().startswith(name)
    assert REGISTRY[name].summary.endswith(".")


def test_no_file_is_opened_without_a_reader():
    with pytest.raises(ValueError, match=r"mask is the name of a file, mask\.png"):
        parse("inpaint:mask.png", SHAPE)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no operator ''; there are identity, crop"),
        ("sharpen:3", "no operator 'sharpen'"),
        ("super_resolution", "needs its factor: write super_resolution:FACTOR"),
        (
            "super_resolution:two",
            "a whole number from 1 to 64, got 'two'",
        ),
        ("super_resolution:2.5", "factor must be a whole number"),
        ("super_resolution:0", "factor must be a whole number from 1 to 64, got '0'"),
        ("super_resolution:3", "multiples of 3"),
        ("super_resolution:2,box,7", "one parameter too many"),
        ("super_resolution:2,factor=4", "factor is given twice"),
        ("super_resolution:2,nearest", "box, bicubic, lanczos3"),
        ("gaussian_blur:wide", "std must be a number from 0.01 to 31.875, got 'wide'"),
        ("gaussian_blur:1e9", "std must be a number"),
        ("uniform_blur:200000", "size must be a whole number from 1 to 255"),
        ("motion_blur:9,nan", "angle must be a number from -360 to 360, got 'nan'"),
        ("motion_blur:inf", "length must be a number"),
        ("inpaint:center,4.7", "a whole number of pixels, got 4.7"),
        ("inpaint:center,inf", "amount must be a number"),
        ("inpaint:random,1.5", "above 0 and at most 1, got 1.5"),
        ("inpaint:freeform,0.3", "only center and random masks have an amount"),
        ("inpaint:center,4,7", "only random and freeform masks have a seed, got 7"),
        ("inpaint:mask.png,seed=7", "only random and freeform masks have a seed"),
        ("inpaint:", "nothing behind its colon"),
        ("jpeg: ", "nothing behind its colon"),
        ("inpaint:random,1_0", "amount must be a number"),
        ("gaussian_blur:700", "std must be a number from 0.01 to 31.875, got '700'"),
        ("uniform_blur:3,zero,nan", "rtol must be a number from 0 to 1, got 'nan'"),
        ("uniform_blur:3,zero,-1", "rtol must be a number from 0 to 1, got '-1'"),
        ("motion_blur:5,30,zero,0.1", "rtol has an effect only if"),
        ("motion_blur:5,30,unknown,0.1", "rtol has an effect only if"),
        ("jpeg:photo.jpg,4:4:4", "the header of photo.jpg gives the subsampling"),
        ("jpeg:0", "from 1 to 100"),
        ("jpeg:?", "is reserved for parameters to be estimated"),
        ("jpeg:high", "there is no file high"),
        ("fourier:2 | jpeg:20", "does not give a picture; it must be last"),
        ("inpaint:no.png", "there is no file no.png"),
        ("inpaint:'no.png", "a quote ' is not closed"),
        ("quantize:0", "from 1 to 16"),
        ("low_dynamic_range:0", "clip must be a number from 0.001 to 1"),
        ("walsh_hadamard:0", "ratio must be a number"),
    ],
)
def test_wrong_texts_are_answered_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse(text, SHAPE, read_parameter)
    assert "\n" not in str(caught.value)
