"""Quantised measurements: cells, their relaxation to noise, and noise before them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense import dense, tikhonov

from pigdm_jax import Problem, measure, restore, samplers
from pigdm_jax import operators as ops
from pigdm_jax.operators.jpeg_transform import JpegTransform
from pigdm_jax.pictures.problems import degradation_of_file
from pigdm_jax.pictures.task import Task

SHAPE = (16, 24, 3)
SMALL = (8, 12, 3)
QUANTISED = {
    "jpeg": lambda: ops.jpeg(SHAPE, 20),
    "cut": lambda: ops.jpeg((13, 21, 3), 50, "4:2:2"),
    "grey": lambda: ops.jpeg((16, 24, 1), 30),
    "quantize": lambda: ops.quantize(SHAPE, 3),
    "dynamic": lambda: ops.low_dynamic_range(SHAPE),
    "gamma": lambda: ops.low_dynamic_range(SHAPE, 0.7, "gamma", 3),
    "box": lambda: ops.chain(ops.super_resolution(SHAPE, 2), ops.jpeg(SMALL, 30)),
    "grayscale": lambda: ops.chain(
        ops.grayscale(SHAPE), ops.quantize((*SHAPE[:2], 1), 2)
    ),
}
each = pytest.mark.parametrize("make", QUANTISED.values(), ids=QUANTISED)


def image(shape=SHAPE, seed=0):
    """Pixels of a file, with some at the ends of their range."""
    pixels = np.random.default_rng(seed).integers(-20, 276, shape).clip(0, 255)
    return jnp.asarray(pixels / 127.5 - 1, jnp.float32)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@each
def test_relaxed_values_are_within_a_cell_of_the_truth(make):
    operator = make()
    x = image(operator.image_shape)
    linear, y, noise_std = operator.relaxed(operator.apply(x))
    assert linear.linear and linear.image_shape == operator.image_shape
    error = np.abs(flat(linear.apply(x)) - flat(y)) / flat(noise_std)
    # A cell reaches 0.5 widths from its centre and counts as noise of 0.17 widths or
    # more; the rounding of JPEG's planes adds a little.
    assert error.max() < 0.5 / 0.17 * 1.1


@each
def test_the_nearest_image_lies_in_the_measured_cells(make):
    operator = make()
    shape = operator.image_shape
    y = operator.apply(image(shape))
    near = operator.nearest(image(shape, 1), y)
    np.testing.assert_array_equal(flat(operator.apply(near)), flat(y))


@pytest.mark.parametrize("name", ["quantize", "gamma", "grey"])
def test_what_is_within_its_cell_stays_and_what_is_not_moves_to_the_border(name):
    operator = QUANTISED[name]()
    x = image(operator.image_shape)
    y = operator.apply(x)
    centre = operator.pinv(y)
    np.testing.assert_allclose(operator.nearest(centre, y), centre, atol=2e-5)
    x = image(operator.image_shape, 1)
    by_whole_steps = x + centre - operator.pinv(operator.apply(x))
    moved = jnp.linalg.norm(operator.nearest(x, y) - x)
    assert moved < jnp.linalg.norm(by_whole_steps - x)


def test_jpegs_transform_passes_on_noise_as_it_is():
    shape = (16, 32, 3)  # Whole blocks of chroma, too.
    linear = JpegTransform(shape, "4:2:0")
    keys = jax.random.split(jax.random.key(0), 2000)
    noise = jax.vmap(lambda key: linear.apply(jax.random.normal(key, shape)))(keys)
    deviations = jax.tree.map(lambda leaf: leaf.std(0), noise)
    np.testing.assert_allclose(flat(deviations), 1, atol=0.1)


@pytest.mark.parametrize("shape", [(12, 10, 3), (8, 16, 1)])
def test_jpegs_transform_equals_its_dense_matrix(shape):
    linear = JpegTransform(shape, "4:2:0")
    matrix = dense(linear)
    x = image(shape)
    y = linear.apply(x)
    np.testing.assert_allclose(flat(y), matrix @ flat(x), atol=1e-5)
    rows = np.linalg.norm(matrix, axis=1) > 0  # Cut blocks have coefficients without.
    solved = {0.0: np.linalg.pinv(matrix), 0.3: np.zeros(matrix.T.shape)}
    solved[0.3][:, rows] = tikhonov(matrix[rows], 0.3)
    for damping, inverse in solved.items():
        expected = (inverse @ flat(y)).reshape(shape)
        np.testing.assert_allclose(linear.pinv(y, damping), expected, atol=1e-4)
    noise_std = jax.tree.map(lambda leaf: 0.1 + 0.5 * jnp.abs(leaf), y)
    covariance = matrix @ matrix.T + np.diag(flat(noise_std) ** 2 / 0.25)
    expected = (matrix.T @ np.linalg.solve(covariance, flat(y))).reshape(shape)
    solution = ops.damped_pinv(linear, y, noise_std, 0.25)
    np.testing.assert_allclose(solution, expected, atol=1e-4)


def test_noise_before_a_quantiser_counts_with_its_error():
    shape = (16, 16, 3)
    operator = ops.chain(ops.noise(shape, 0.2), ops.jpeg(shape, 30))
    x = image(shape)
    keys = jax.random.split(jax.random.key(0), 400)
    ys = jax.vmap(lambda key: operator.draw(x, key))(keys)
    _, y, noise_std = jax.vmap(operator.relaxed)(ys)
    exact = JpegTransform(shape, "4:2:0").apply(x)

    def root_mean_square(leaf):
        return jnp.sqrt(jnp.mean(leaf**2))

    errors = jax.tree.map(jnp.subtract, y, exact)
    seen, expected = (
        flat(jax.tree.map(root_mean_square, tree)) for tree in (errors, noise_std)
    )
    ratio = expected / seen
    # Errors of JPEG count as less than they are.
    assert ((ratio > 0.7) & (ratio < 1.1)).all(), ratio


def test_noise_before_a_linear_part_is_noise_behind_it():
    shape = (16, 16, 3)
    blur = ops.gaussian_blur(shape, 1.0)
    linear, y, noise_std = ops.chain(ops.noise(shape, 0.2), blur).relaxed(
        blur.apply(image(shape))
    )
    keys = jax.random.split(jax.random.key(1), 500)
    noise = jax.vmap(lambda key: 0.2 * blur.apply(jax.random.normal(key, shape)))(keys)
    assert linear.linear and y.shape == shape
    ratio = float(noise_std.mean() / noise.std())
    assert 0.95 < ratio < 1.05


def test_a_photo_compressed_twice_has_the_errors_of_both():
    first, second = ops.jpeg(SHAPE, 20), ops.jpeg(SHAPE, 40)
    twice = ops.chain(first, second)
    y = twice.apply(image())
    _, _, both = twice.relaxed(y)
    _, _, last = second.relaxed(y)
    _, _, before = first.relaxed(first.apply(second.pinv(y)))
    expected = jnp.hypot(last.y, before.y)
    assert 0.9 < float(jnp.mean(both.y / expected)) < 1.1


def test_relaxing_restores_better_than_the_middle_of_the_cells(smooth_prior):
    shape = smooth_prior.image_shape
    operator, keys = ops.quantize(shape, 1), jax.random.split(jax.random.key(0), 16)
    problem = measure(operator, jnp.zeros(shape))
    sampler = samplers.default(smooth_prior, problem)
    assert isinstance(sampler, samplers.Relaxed) and sampler.evaluations == 10

    def errors(key):
        ours, truths = jax.random.split(key)
        nothing = Problem(ops.identity(shape), jnp.zeros(shape), 100.0)
        x = restore(smooth_prior, nothing, truths, samplers.DDIM(20))
        problem = measure(operator, x)
        restored = restore(smooth_prior, problem, ours)
        middle = operator.pinv(problem.y)
        return [jnp.mean((image - x) ** 2) for image in (restored, middle)]

    restored, middle = map(jnp.mean, jax.vmap(errors)(keys))
    assert restored < 0.8 * middle


def test_relaxed_is_refused_where_nothing_is_quantised(smooth_prior):
    problem = measure(ops.grayscale(SHAPE), image())
    with pytest.raises(ValueError, match="an operator that quantises"):
        restore(smooth_prior, problem, jax.random.key(0), samplers.Relaxed())
    with pytest.raises(ValueError, match="one noise level for all measured values"):
        samplers.Relaxed(samplers.CCDF())


def test_a_wrapped_sampler_is_a_part_of_the_text():
    text = "relaxed:inner=(ddim:steps=20,eta=0.5)"
    assert str(samplers.parse(text)) == text
    assert samplers.parse(text).evaluations == 20
    sampler = samplers.parse(text, steps=7, guidance="moment")
    assert (sampler.inner.steps, sampler.inner.guidance.name) == (7, "moment")
    with pytest.raises(ValueError, match="takes no guidance"):
        samplers.parse("relaxed:inner=(ddnm)", guidance="moment")


def test_a_task_says_where_the_noise_was_added():
    task = Task.parse("super_resolution:2 | denoise:0.05 | jpeg:30")
    assert str(task) == "super_resolution:2 | denoise:0.05 | jpeg:30"
    assert Task.parse(str(task)) == task
    operator = task.operator(SHAPE)
    assert [type(part).__name__ for part in operator.parts][1:] == ["Noise", "Jpeg"]
    assert operator.parts[1].std == pytest.approx(0.1)
    assert degradation_of_file((8, 12), task).noise_std is None
    with pytest.raises(ValueError, match=r"as in 'denoise:0.1 \| jpeg:30'"):
        degradation_of_file((8, 12), Task.parse("jpeg:30 | denoise:0.1"))
    with pytest.raises(ValueError, match="added more than once"):
        Task.parse("denoise:0.1 | jpeg:30 | denoise:0.1")


def test_simulated_noise_needs_a_key():
    operator = ops.chain(ops.noise(SHAPE, 0.2), ops.quantize(SHAPE, 4))
    with pytest.raises(ValueError, match="needs a key"):
        measure(operator, image())
    one, two = (measure(operator, image(), jax.random.key(k)).y for k in (0, 1))
    assert 0.1 < float(jnp.std(one - two)) < 0.4
    assert isinstance(measure(operator, image(), jax.random.key(0)), Problem)
