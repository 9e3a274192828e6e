"""The laws of every operator, against dense matrices where it is linear."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from dense import dense, tikhonov
from jax.flatten_util import ravel_pytree

from pigdm_jax import operators as ops
from pigdm_jax.operators.resizing import KERNELS, downsampling_matrix

KERNEL = np.array([[0.0, 0.3, 0.1], [0.2, 0.9, 0.0], [0.1, 0.0, 0.2]]) / 1.8
SHAPES = [(12, 8, 3), (8, 16, 1)]

LINEAR = {
    "identity": ops.identity,
    "crop": lambda s: ops.crop(s, 5, 6, 1, 2),
    "inpaint_center": lambda s: ops.inpaint(s, ops.center_mask(s, 4)),
    "inpaint_random": lambda s: ops.inpaint(s, ops.random_mask(s, 0.4)),
    "inpaint_freeform": lambda s: ops.inpaint(s, ops.freeform_mask(s, 3)),
    "box_2": lambda s: ops.super_resolution(s, 2),
    "box_4": lambda s: ops.super_resolution(s, 4, "box"),
    "bicubic_2": lambda s: ops.super_resolution(s, 2, "bicubic"),
    "bicubic_4": lambda s: ops.super_resolution(s, 4, "bicubic"),
    "lanczos3_2": lambda s: ops.super_resolution(s, 2, "lanczos3"),
    "uniform_3": lambda s: ops.uniform_blur(s, 3, rtol=1e-3),
    "uniform_9": lambda s: ops.uniform_blur(s, 9, "zero", rtol=1e-3),
    "uniform_reflect": lambda s: ops.uniform_blur(s, 5, "reflect", rtol=1e-3),
    "uniform_circular": lambda s: ops.uniform_blur(s, 3, "circular", rtol=1e-3),
    "gaussian": lambda s: ops.gaussian_blur(s, 0.7, rtol=1e-3),
    "kernel_circular": lambda s: ops.blur(s, KERNEL, "circular", rtol=1e-3),
    "kernel_zero": lambda s: ops.blur(s, KERNEL, "zero"),
    "kernel_reflect": lambda s: ops.blur(s, KERNEL, "reflect"),
    "motion": lambda s: ops.motion_blur(s, 1.2, 30.0),
    "motion_circular": lambda s: ops.motion_blur(s, 3.0, -45.0, "circular", 1e-3),
    "walsh_hadamard": lambda s: ops.chain(
        ops.crop(s, 8, 8), ops.walsh_hadamard((8, 8, s[2]), 0.4)
    ),
    "fourier": lambda s: ops.fourier(s, ops.random_mask(s, 0.5)),
    "fourier_columns": lambda s: ops.fourier(s, ops.cartesian_mask(s, 2.0)),
    "linear_pair": lambda s: ops.linear(s, differences),
    "blur_then_box": lambda s: ops.chain(
        ops.gaussian_blur(s, 0.6), ops.super_resolution(s, 2)
    ),
    "mask_then_box": lambda s: ops.chain(
        ops.inpaint(s, ops.random_mask(s, 0.6)), ops.super_resolution(s, 2)
    ),
    "box_then_mask": lambda s: ops.chain(
        ops.super_resolution(s, 2),
        ops.inpaint(half(s), ops.random_mask(half(s), 0.6)),
    ),
    "crop_then_blur": lambda s: ops.chain(
        ops.crop(s, 6, 6), ops.uniform_blur((6, 6, s[2]), 3, rtol=1e-3)
    ),
}
COLOUR = {
    "grayscale": ops.grayscale,
    "channel_mix": lambda s: ops.channel_mix(s, [[1, 2, 0.5], [0, 1, -1]]),
    "grey_small": lambda s: ops.chain(
        ops.grayscale(s), ops.super_resolution((*s[:2], 1), 2)
    ),
}
NONLINEAR = {
    "jpeg_10": lambda s: ops.jpeg(s, 10),
    "jpeg_90": lambda s: ops.jpeg(s, 90, "4:4:4"),
    "quantize_1": lambda s: ops.quantize(s, 1),
    "quantize_4": lambda s: ops.quantize(s, 4),
    "low_dynamic_range": ops.low_dynamic_range,
    "low_dynamic_range_gamma": lambda s: ops.low_dynamic_range(s, 0.55, "gamma", 5),
    "box_then_jpeg": lambda s: ops.chain(
        ops.super_resolution(s, 2), ops.jpeg(half(s), 20)
    ),
}


def differences(x):
    """A measurement of two arrays."""
    return {"down": jnp.diff(x, axis=0)[::2], "across": jnp.diff(x, axis=1)[:, ::2]}


def half(shape):
    return (shape[0] // 2, shape[1] // 2, shape[2])


def cases(*tables):
    return [
        pytest.param(make, shape, id=f"{name}-{shape}")
        for table in tables
        for name, make in table.items()
        for shape in SHAPES
        if shape[2] == 3 or table is not COLOUR
    ]


def image(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


# With the operator as an argument, operators of one kind and size share a program.
apply = jax.jit(lambda operator, x: operator.apply(x))
pinv = jax.jit(lambda operator, y: operator.pinv(y))
damped = jax.jit(lambda operator, y, damping: operator.pinv(y, damping))
apply_each = jax.jit(jax.vmap(lambda operator, x: operator.apply(x), (None, 0)))
pinv_each = jax.jit(jax.vmap(lambda operator, y: operator.pinv(y), (None, 0)))


@functools.cache
def operator_of(make, shape):
    """What several laws ask of, once."""
    return make(shape)


@functools.cache
def matrix_of(make, shape):
    return dense(operator_of(make, shape))


def leaves_close(a, b, tolerance):
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, two, atol=tolerance, rtol=0)


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR, NONLINEAR))
def test_measuring_the_pseudoinverse_gives_the_measurement(make, shape):
    operator = operator_of(make, shape)
    y = apply(operator, image(shape))
    again = apply(operator, pinv(operator, y))
    leaves_close(again, y, 0 if not operator.linear else 2e-3)


WITHOUT_SPECTRUM = ("kernel_zero", "kernel_reflect", "motion-", "linear", "mask_then")


@jax.jit
def spectral(operator, x, z):
    """V V^T x, that twice, V V^T z, H^T H x and V V^T H+ H x by singular values."""
    spectrum = operator.spectrum

    def project(x):
        return spectrum.synthesise(spectrum.analyse(x))

    squared = spectrum.synthesise(spectrum.values**2 * spectrum.analyse(x))
    pinv = operator.pinv(operator.apply(x))
    inside = spectrum.synthesise(
        jnp.where(spectrum.values > 0, spectrum.analyse(pinv), 0)
    )
    return project(x), project(project(x)), project(z), squared, inside


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR))
def test_singular_values_make_the_operator_diagonal(make, shape, request):
    operator = operator_of(make, shape)
    name = request.node.callspec.id
    assert (operator.spectrum is None) == name.startswith(WITHOUT_SPECTRUM)
    if operator.spectrum is None:
        return
    x, z = image(shape), image(shape, 1)
    kept, again, other, squared, inside = spectral(operator, x, z)
    # V V^T is a projection, V^T is V's transpose, and H+ lies within.
    np.testing.assert_allclose(again, kept, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(kept * z), jnp.sum(kept * other), atol=1e-4)
    matrix = matrix_of(make, shape)
    flat = np.asarray(x, np.float64).ravel()
    # Singular values that count as 0 are left out.
    expected = matrix.T @ (matrix @ flat)
    np.testing.assert_allclose(squared.ravel(), expected, atol=2e-5)
    within = pinv(operator, apply(operator, x))
    np.testing.assert_allclose(inside, within, atol=2e-3)


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR))
def test_linear_operators_equal_their_dense_matrices(make, shape):
    operator = operator_of(make, shape)
    assert operator.linear
    matrix = matrix_of(make, shape)
    np.testing.assert_allclose(
        ravel_pytree(apply(operator, image(shape)))[0],
        matrix @ np.asarray(image(shape), np.float64).ravel(),
        atol=1e-5,
    )
    y = jax.tree.map(
        lambda s: image(s, 1),
        operator.measurement_shape,
        is_leaf=lambda s: isinstance(s, tuple),
    )
    flat = np.asarray(ravel_pytree(y)[0], np.float64)
    rtol = getattr(operator, "rtol", 1e-6)
    inverse = np.linalg.pinv(matrix, rcond=rtol)
    expected = inverse @ flat
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        pinv(operator, y).ravel() / scale, expected / scale, atol=2e-4
    )
    for damping in (0.01, 1.0):
        np.testing.assert_allclose(
            damped(operator, y, damping).ravel(),
            tikhonov(matrix, damping) @ flat,
            atol=2e-4,
        )


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR))
def test_tight_operators_say_so_rightly(make, shape):
    operator = operator_of(make, shape)
    if operator.tight is not None:
        square = matrix_of(make, shape)
        square = square @ square.T
        np.testing.assert_allclose(
            square, operator.tight * np.eye(len(square)), atol=1e-6
        )


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR, NONLINEAR))
def test_vmap_over_images_equals_a_loop(make, shape):
    operator = operator_of(make, shape)
    images = jnp.stack([image(shape, seed) for seed in range(3)])
    ys = apply_each(operator, images)
    back = pinv_each(operator, ys)
    assert back.dtype == jnp.float32 and back.shape == images.shape
    for i, x in enumerate(images):
        y = apply(operator, x)
        tolerance = 2e-6 if operator.linear else 0
        leaves_close(jax.tree.map(lambda a, i=i: a[i], ys), y, tolerance)
        np.testing.assert_allclose(back[i], pinv(operator, y), atol=2e-3)


@pytest.mark.parametrize("make, shape", cases(LINEAR, COLOUR, NONLINEAR))
def test_extreme_images_give_numbers_in_float32(make, shape):
    operator = operator_of(make, shape)
    for x in (jnp.zeros(shape), jnp.full(shape, 1e4), jnp.full(shape, -3.0)):
        y = apply(operator, x)
        for leaf in [*jax.tree.leaves(y), pinv(operator, y)]:
            assert leaf.dtype == jnp.float32
            assert jnp.isfinite(leaf).all()


def stack(*operators):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: ops.inpaint((8, 8, 3), ops.random_mask((8, 8, 3), 0.5, i)),
        lambda i: ops.blur((8, 8, 3), np.roll(KERNEL, i), "circular"),
        lambda i: ops.gaussian_blur((8, 8, 3), (0.5, 0.55, 0.6)[i]),
        lambda i: ops.jpeg((16, 16, 3), (10, 50, 90)[i]),
        lambda i: ops.linear(
            (8, 8, 3), jax.tree_util.Partial(jnp.multiply, jnp.float32(1 + i))
        ),
    ],
    ids=["inpaint", "blur", "gaussian", "jpeg", "linear"],
)
def test_vmap_over_operators_equals_a_loop(make):
    each = [make(i) for i in range(3)]
    x = image(each[0].image_shape)
    ys = jax.vmap(lambda operator: operator.apply(x))(stack(*each))
    backs = jax.vmap(lambda operator, y: operator.pinv(y))(stack(*each), ys)
    for i, operator in enumerate(each):
        y = operator.apply(x)
        leaves_close(jax.tree.map(lambda a, i=i: a[i], ys), y, 1e-5)
        np.testing.assert_allclose(backs[i], operator.pinv(y), atol=2e-3)


def test_one_trace_serves_every_mask():
    traces = []

    @jax.jit
    def measure(operator, x):
        traces.append(1)
        return operator.apply(x)

    for seed in range(3):
        measure(
            ops.inpaint((8, 8, 3), ops.random_mask((8, 8, 3), 0.5, seed)),
            image((8, 8, 3)),
        )
    assert len(traces) == 1


def test_box_averages_blocks_and_its_pseudoinverse_repeats_them():
    x = image((8, 12, 3))
    operator = ops.super_resolution((8, 12, 3), 4)
    blocks = np.asarray(x).reshape(2, 4, 3, 4, 3).mean((1, 3))
    np.testing.assert_allclose(operator.apply(x), blocks, atol=1e-6)
    np.testing.assert_allclose(
        operator.pinv(blocks), blocks.repeat(4, 0).repeat(4, 1), atol=1e-6
    )


def test_bicubic_is_the_kernel_of_ddrm():
    """Its rows by DDRM's own recipe: taps at (i + 0.5) / factor, mirrored borders."""
    size, factor = 16, 4
    taps = np.abs((np.arange(4 * factor) - 2 * factor + 0.5) / factor)
    weights = np.where(
        taps <= 1,
        1.5 * taps**3 - 2.5 * taps**2 + 1,
        -0.5 * taps**3 + 2.5 * taps**2 - 4 * taps + 2,
    )
    weights /= weights.sum()
    expected = np.zeros((size // factor, size))
    for o, row in enumerate(expected):
        for k, weight in enumerate(weights):
            j = o * factor + factor // 2 - 2 * factor + k
            j = -j - 1 if j < 0 else 2 * size - 1 - j if j >= size else j
            row[j] += weight
    matrix = downsampling_matrix(size, factor, *KERNELS["bicubic"])
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2), (3, 3), (5, 1)])
@pytest.mark.parametrize("boundary", ["zero", "circular", "reflect"])
@pytest.mark.parametrize("separable", [True, False])
def test_blur_is_the_convolution_of_scipy(shape, boundary, separable):
    rng = np.random.default_rng(0)
    kernel = rng.uniform(0, 1, shape)
    if separable:
        kernel = np.outer(kernel[:, 0], kernel[0])
    x = image((9, 7, 2))
    mode = {"zero": "fill", "circular": "wrap", "reflect": "symm"}[boundary]
    expected = np.stack(
        [
            scipy.signal.convolve2d(channel, kernel, "same", mode)
            for channel in np.moveaxis(np.asarray(x, np.float64), -1, 0)
        ],
        axis=-1,
    )
    operator = ops.blur((9, 7, 2), kernel, boundary)
    np.testing.assert_allclose(operator.apply(x), expected, atol=1e-5)


def test_blurs_use_every_tap_and_keep_brightness():
    ones = jnp.ones((32, 32, 3))
    for boundary in ("circular", "reflect"):
        for operator in (
            ops.uniform_blur((32, 32, 3), 9, boundary),
            ops.gaussian_blur((32, 32, 3), 2.0, boundary),
        ):
            np.testing.assert_allclose(operator.apply(ones), ones, atol=1e-5)
    spot = jnp.zeros((32, 32, 1)).at[16, 16].set(1)
    blurred = ops.uniform_blur((32, 32, 1), 9).apply(spot)[..., 0]
    expected = np.zeros((32, 32))
    expected[12:21, 12:21] = 1 / 81
    np.testing.assert_allclose(blurred, expected, atol=1e-6)
    gaussian = ops.gaussian_blur((32, 32, 1), 2.0).apply(spot)[..., 0]
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(spot[..., 0], np.float64), 2.0, mode="constant", truncate=4
    )
    np.testing.assert_allclose(gaussian, expected, atol=1e-6)


def test_the_naive_product_of_pseudoinverses_would_be_wrong():
    mask = ops.inpaint((8, 8, 1), ops.random_mask((8, 8, 1), 0.6))
    shrink = ops.super_resolution((8, 8, 1), 2)
    both = ops.chain(mask, shrink)
    y = image(both.measurement_shape)
    exact = np.linalg.pinv(dense(both)) @ np.asarray(y, np.float64).ravel()
    naive = mask.pinv(shrink.pinv(y)).ravel()
    assert np.abs(exact - naive).max() > 0.1
    np.testing.assert_allclose(both.pinv(y).ravel(), exact, atol=1e-4)


def test_neighbouring_separable_operators_become_one():
    both = ops.chain(ops.grayscale((8, 8, 3)), ops.super_resolution((8, 8, 1), 2))
    assert type(both) is type(ops.grayscale((8, 8, 3)))
    assert ops.chain(ops.identity((8, 8, 3))).image_shape == (8, 8, 3)


def test_quantize_rounds_down_and_answers_the_middle():
    operator = ops.quantize((1, 4, 1), 2)
    x = jnp.asarray([-1.0, -0.51, 0.3, 1.0]).reshape(1, 4, 1)
    y = operator.apply(x)
    np.testing.assert_array_equal(y.ravel(), [-1, -1, 0, 0.5])
    np.testing.assert_array_equal(operator.pinv(y).ravel(), [-0.75, -0.75, 0.25, 0.75])


def test_mask_makers_hide_what_they_promise():
    shape = (64, 48, 3)
    center = np.asarray(ops.center_mask(shape, 20))[..., 0]
    assert (center[22:42, 14:34] == 0).all() and center.sum() == 64 * 48 - 400
    random = ops.random_mask(shape, 0.3, 5)
    assert random.sum() == round(0.3 * 64 * 48)
    assert (random == ops.random_mask(shape, 0.3, jax.random.key(5))).all()
    assert (random != ops.random_mask(shape, 0.3, 6)).any()
    for seed in range(20):
        hidden = 1 - ops.freeform_mask(shape, seed).mean()
        assert 0.2 <= hidden <= 0.3
    assert (ops.freeform_mask(shape, 1) == ops.freeform_mask(shape, 1)).all()
    assert (ops.freeform_mask(shape, 1) != ops.freeform_mask(shape, 2)).any()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ops.super_resolution((9, 8, 3), 4), "multiples of 4"),
        (lambda: ops.super_resolution((8, 8, 3), 2, "cubic"), "box, bicubic"),
        (lambda: ops.inpaint((8, 8, 3), np.ones((4, 8))), "the mask is 4 x 8 pixels"),
        (lambda: ops.inpaint((8, 8, 3), np.full((8, 8), 0.5)), "contain only 0"),
        (lambda: ops.random_mask((8, 8, 3), 0.0), "fraction"),
        (lambda: ops.center_mask((8, 8, 3), 8), "smaller than the image"),
        (lambda: ops.freeform_mask((8, 8, 3), 0, (0.3, 0.2)), "smallest"),
        (lambda: ops.quantize((8, 8, 3), 0), "from 1 to 16"),
        (lambda: ops.low_dynamic_range((8, 8, 3), 1.5), "at most 1"),
        (lambda: ops.low_dynamic_range((8, 8, 3), response="log"), "identity, gamma"),
        (lambda: ops.grayscale((8, 8, 1)), "three channels"),
        (lambda: ops.uniform_blur((8, 8, 3), 0), "from 1 to 255"),
        (lambda: ops.gaussian_blur((8, 8, 3), 0.0), "from 0.01 to 31.875"),
        (lambda: ops.blur((8, 8, 3), np.ones((2, 2)), "wrap"), "zero, reflect"),
        (lambda: ops.blur((8, 8, 3), np.ones(3)), "2-D array"),
        (lambda: ops.blur((8, 8, 3), np.zeros((2, 2))), "not 0"),
        (lambda: ops.crop((8, 8, 3), 4, 4, 6, 0), "does not lie"),
        (lambda: ops.motion_blur((8, 8, 3), 0.0), "from 0.01 to 255"),
        (lambda: ops.walsh_hadamard((8, 12, 3)), "powers of 2"),
        (lambda: ops.walsh_hadamard((8, 8, 3), 0.0), "above 0"),
        (lambda: ops.fourier((8, 8, 3), np.ones((4, 8))), "the mask is 4 x 8 pixels"),
        (
            lambda: ops.cartesian_mask((8, 8, 3), 0.5),
            "acceleration, at most the width, must be",
        ),
        (lambda: ops.channel_mix((8, 8, 3), np.ones((2, 2))), "cannot multiply"),
        (lambda: ops.linear((8, 8, 3), lambda x: x + 1), "not linear"),
        (lambda: ops.linear((8, 8, 3), jnp.abs), "not linear"),
        (lambda: ops.linear((8, 8, 3), jnp.fft.fft2), "real and imaginary"),
        (
            lambda: ops.nonlinear((8, 8, 3), jnp.abs, lambda y: y[:4]),
            "pinv returns images",
        ),
        (lambda: ops.identity((8, 8)), "height, width, channels"),
        (lambda: ops.chain(), "at least one"),
        (
            lambda: ops.chain(
                ops.super_resolution((8, 8, 3), 2), ops.jpeg((8, 8, 3), 10)
            ),
            "operator before it",
        ),
    ],
)
def test_a_bad_request_is_answered_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_operators_are_frozen():
    operator = ops.identity((8, 8, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        operator.image_shape = (4, 4, 3)


@pytest.mark.parametrize(
    "make, arguments",
    [
        (ops.linear, (jnp.cumsum, (8, 8, 3))),
        (ops.nonlinear, (jnp.abs, jnp.abs, (8, 8, 3))),
        (ops.nonlinear, (jnp.abs, (8, 8, 3), jnp.abs)),
        (ops.inpaint, (np.ones((8, 8)), (8, 8, 3))),
        (ops.super_resolution, (2, (8, 8, 3))),
    ],
)
def test_swapped_arguments_are_refused_in_one_sentence(make, arguments):
    # Without the tests' type checks, which would refuse them before.
    make = inspect.unwrap(make)
    with pytest.raises(ValueError, match="image shape") as caught:
        make(*arguments)
    assert "\n" not in str(caught.value)


def test_functions_come_after_the_image_shape():
    with pytest.raises(ValueError, match="linear needs a function after the image"):
        inspect.unwrap(ops.linear)((8, 8, 3), (8, 8, 3))
