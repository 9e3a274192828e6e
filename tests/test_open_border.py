"""Blurs of photos whose scene goes on beyond the border."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from dense import dense, tikhonov

from pigdm_jax import Problem, gaussian_prior, restore, samplers
from pigdm_jax import operators as ops
from pigdm_jax.pictures.problems import degradation_of_file, degradation_to_simulate
from pigdm_jax.pictures.task import Task

SHAPE = (10, 12, 1)
KERNEL = np.array([[0, 1, 2, 1], [3, 1, 0, 2], [1, 0, 0, 1]]) / 12


def scene(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


def test_the_photo_is_the_valid_part_of_the_blurred_scene():
    operator = ops.blur(SHAPE, KERNEL, "unknown")
    wider, top, left = operator.wider
    assert operator.restored_shape == wider.image_shape == (12, 15, 1)
    x = scene(wider.image_shape)
    expected = scipy.signal.convolve2d(x[..., 0], KERNEL, mode="valid")
    np.testing.assert_allclose(wider.apply(x)[..., 0], expected, atol=1e-5)
    # Where the photo lies: a kernel of one tap is the identity.
    tap = np.zeros((3, 4))
    tap[1, 1] = 1
    assert ops.blur(SHAPE, tap, "unknown").restored_shape == SHAPE
    same = scipy.signal.convolve2d(x[..., 0], KERNEL, mode="same")
    inside = same[top : top + SHAPE[0], left : left + SHAPE[1]]
    np.testing.assert_allclose(wider.apply(x)[..., 0], inside, atol=1e-5)


@pytest.mark.parametrize("damping", [0.3, 0.01, 1e-3])
def test_its_pseudoinverse_is_the_dense_one(damping):
    wider = ops.motion_blur((16, 16, 1), 5, 30, "unknown").wider.operator
    y = wider.apply(scene(wider.image_shape))
    expected = tikhonov(dense(wider), damping) @ np.ravel(y)
    error = np.linalg.norm(np.ravel(wider.pinv(y, damping)) - expected)
    assert error < 0.04 * np.linalg.norm(expected)


def test_a_wide_kernel_adds_no_more_than_its_weight():
    narrow = ops.gaussian_blur((16, 16, 1), 2.0, "unknown")
    assert narrow.restored_shape == (16 + 10, 16 + 10, 1)  # 2.58 deviations hold 99 %.


def test_a_photo_is_restored_better_than_with_a_mirrored_border():
    size, reach = 8, 3
    n = size + 2 * reach
    line = 0.8 ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    kernel = np.full((1, 2 * reach + 1), 1 / (2 * reach + 1))
    operator = ops.blur((size, size, 1), kernel, "unknown")
    wide = operator.restored_shape
    assert wide == (size, n, 1)
    short = line[:size, :size]
    prior = gaussian_prior(jnp.zeros(wide), 0.25 * np.kron(short, line))
    small = gaussian_prior(jnp.zeros((size, size, 1)), 0.25 * np.kron(short, short))
    mirrored = ops.blur((size, size, 1), kernel, "reflect")

    def errors(key):
        truth, noise, ours = jax.random.split(key, 3)
        nothing = Problem(ops.identity(wide), jnp.zeros(wide), 100.0)
        x = restore(prior, nothing, truth, samplers.DDIM(30))
        y = operator.wider.operator.apply(x)
        y += 0.02 * jax.random.normal(noise, y.shape)
        photo = x[:, reach:-reach]
        sampler = samplers.DDIM(30)
        restored = [
            restore(prior, Problem(operator, y, 0.02), ours, sampler),
            restore(small, Problem(mirrored, y, 0.02), ours, sampler),
        ]
        return [jnp.mean((image - photo) ** 2) for image in restored]

    keys = jax.random.split(jax.random.key(0), 32)
    ours, others = map(jnp.mean, jax.vmap(errors)(keys))
    assert ours < 0.8 * others


def test_a_file_has_an_unknown_border_and_a_simulation_a_mirrored_one():
    task = Task.parse("motion_blur:5,30 | denoise:0.01")
    photo = degradation_of_file((20, 30), task).operator
    assert photo.wider is not None and photo.image_shape == (20, 30, 3)
    assert photo.restored_shape > photo.image_shape
    assert degradation_to_simulate((20, 30), task).operator.wider is None
    given = Task.parse("gaussian_blur:1,reflect | denoise:0.01")
    assert degradation_of_file((20, 30), given).operator.wider is None
    both = Task.parse("gaussian_blur:1 | super_resolution:2")
    both = degradation_of_file((10, 15), both)
    assert both.operator.wider.operator.measurement_shape == (10, 15, 3)
