"""Any parameters make an operator, or are refused in one sentence, and soon."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from pigdm_jax import operators as ops
from pigdm_jax.cli.failures import expected
from pigdm_jax.operators import parse
from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.pictures.parameters import read_parameter
from pigdm_jax.pictures.task import STAGES, Task
from pigdm_jax.samplers import parse as parse_sampler
from pigdm_jax.samplers.registry import SAMPLERS

SLOW = 10  # seconds

NASTY = [
    *("nan", "inf", "-inf", "-1", "0", "1", "2", "3.5", "1e9", "1e-320", "1e400", "-0"),
    *("9" * 30, "9" * 5000, "0x10", "1_0", "٣", "²", "true", "none", "None", "", " "),
    *("center", "random", "freeform", "box", "zero", "circular", "unknown", "4:4:4"),
    *("?", "=", "a=b", "seed=-1", "std=nan", "'", '"', "''", "'a'b", "x" * 300, "\x00"),
    *("/dev/null", ".", "/", "..", "no.png", "{stem}.png", "{", "\ud800", "\n", "|"),
    *("factor=2", "rtol=2", "rtol=1e-3", "seed=99999999999", "mask=center", ":", ","),
]
tokens = st.sampled_from(NASTY) | st.text(max_size=8) | st.floats().map(str)
names = st.sampled_from([*STAGES, "", " ", "JPEG", "jpeg ", "denoise"])
parts = st.builds(
    lambda n, v: f"{n}:{','.join(v)}" if v else n, names, st.lists(tokens, max_size=4)
)
tasks = st.lists(parts, min_size=1, max_size=3).map("|".join) | st.text()
sides = st.sampled_from([1, 2, 3, 4, 8, 16])


def outcome(function, *arguments):
    """What a function returns; None if it refuses in one sentence."""
    began = time.perf_counter()
    try:
        return function(*arguments)
    except ValueError as error:
        assert expected(error), f"a bug: {error!r}"
        return None
    finally:
        assert time.perf_counter() - began < SLOW


@settings(max_examples=300)
@given(tasks)
@example("inpaint:freeform,0.9")
@example("\x00")
def test_any_task_parses_or_is_refused(text):
    task = outcome(Task.parse, text)
    if task is not None:
        assert Task.parse(str(task)) == task


@settings(max_examples=120)
@given(tasks, sides, sides)
@example("inpaint:freeform", 1, 1)
@example("inpaint:freeform", 2, 3)
@example("inpaint:center", 1, 1)
@example("super_resolution:64", 3, 3)
@example("motion_blur:255,45", 2, 2)
@example("gaussian_blur:31.875", 2, 2)
@example("fourier:100,1", 1, 1)
def test_any_task_makes_an_operator_or_is_refused(text, height, width):
    shape = (height, width, 3)
    operator = outcome(parse, text, shape, read_parameter)
    if operator is not None:
        assert operator.image_shape == shape
        for leaf in jax.tree.leaves(operator.apply(jnp.ones(shape))):
            assert np.isfinite(np.asarray(leaf)).all()


numbers = st.sampled_from(
    [math.nan, math.inf, -math.inf, -1, 0, 1, 2, 2.5, 700, 1e9, 10**30, -(10**30), True]
)


@settings(max_examples=200)
@given(st.data())
def test_constructors_refuse_what_their_texts_do(data):
    """Python's callers give numbers that no text can; none hangs or takes gigabytes."""
    makers = {
        ops.super_resolution: ("factor",),
        ops.uniform_blur: ("size", "rtol"),
        ops.gaussian_blur: ("std", "rtol"),
        ops.motion_blur: ("length", "angle", "rtol"),
        ops.quantize: ("bits",),
        ops.low_dynamic_range: ("clip", "bits"),
        ops.jpeg: ("quality",),
        ops.crop: ("height", "width", "top", "left"),
        ops.center_mask: ("size",),
        ops.random_mask: ("keep", "key"),
        ops.freeform_mask: ("key",),
        ops.walsh_hadamard: ("ratio", "key"),
        ops.cartesian_mask: ("acceleration", "center", "key"),
        ops.noise: ("std",),
    }
    make = data.draw(st.sampled_from(list(makers)))
    options = data.draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(makers[make], numbers))
    )
    try:
        outcome(lambda: make((8, 8, 3), **options))
    except (TypeError, TypeCheckError):
        pass  # an argument is missing, or of another type


def test_large_images_are_refused_before_their_matrices_are_made():
    for text, side in (("super_resolution:64", 640_000), ("uniform_blur:9", 40_000)):
        with pytest.raises(ValueError, match="is too large for this operator"):
            parse(text, (8 * 64, side, 3))
    with pytest.raises(ValueError, match="at most 257 x 257 taps, got 3 x 300"):
        ops.blur((8, 8, 3), np.ones((3, 300)))


@settings(max_examples=150)
@given(
    st.sampled_from([*SAMPLERS, "best", ""]),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["steps", "eta", "start", "guidance", "inner", "samples", "x"]
            ),
            tokens,
        ),
        max_size=3,
    ),
    st.sampled_from([None, -1, 0, 5, 10**30]),
    st.none()
    | tokens
    | st.sampled_from(["moment:products=1", "pseudoinverse:weight=vdm"]),
)
@example("ddim", [("steps", "((")], None, None)
@example("mean", [("inner", "(mean:inner=(ddim))")], 10**30, None)
def test_any_sampler_parses_or_is_refused(name, fields, steps, guidance):
    text = name + (":" if fields else "") + ",".join(f"{k}={v}" for k, v in fields)
    outcome(lambda: parse_sampler(text, steps=steps, guidance=guidance))


def test_every_operator_has_a_range_for_every_number():
    for named in REGISTRY.values():
        for parameter in named.parameters:
            if parameter.kind is not str:
                assert -math.inf < parameter.low < parameter.high < math.inf
