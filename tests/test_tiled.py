"""Tiled priors: exact where windows know all, smooth, differentiable, bounded."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pigdm_jax import (
    Prior,
    Problem,
    Schedule,
    UNet,
    UNetConfig,
    from_denoiser,
    gaussian_prior,
    network_prior,
    restore,
    tiled,
)
from pigdm_jax import operators as ops
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.priors.tiling import window_starts
from pigdm_jax.samplers import DDIM

LOCAL = from_denoiser(lambda x, t: jnp.tanh(x) * (1 - t / 2000))


def noise(*shape):
    return jax.random.normal(jax.random.key(0), shape)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 63))
def test_windows_cover_an_axis_and_overlap(length, window, overlap):
    window, overlap = min(window, length), min(overlap, window - 1)
    overlap = min(overlap, window - 1)
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0 and starts[-1] == length - window
    assert (np.diff(starts) > 0).all() and (np.diff(starts) <= window - overlap).all()


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 20, 1), (19, 33, 3), (5, 30, 3)])
@pytest.mark.parametrize("overlap", [0, 3])
def test_a_prior_without_reach_is_the_same_tiled(shape, overlap):
    x = noise(*shape)
    prior = tiled(LOCAL, 8, overlap, chunk=2)
    np.testing.assert_allclose(prior(x, 300), LOCAL(x, 300), atol=1e-5)
    v = noise(*shape)[::-1]
    one, two = (jax.vjp(lambda x, p=p: p(x, 300), x)[1](v)[0] for p in (prior, LOCAL))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_overlapping_windows_are_blended_by_their_weights():
    """Against the windows put together by hand, along one axis."""
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    inner = from_denoiser(lambda x, t: jnp.einsum("ij,hjc->hic", line, x) / 5)
    x = noise(1, 6, 1)
    total, weight = np.zeros(6), np.zeros(6)
    for start in (0, 2):
        window = slice(start, start + 4)
        ramp = np.array([1, 2, 2, 1]) / 3
        total[window] += ramp * inner(x[:, window], 400)[0, :, 0]
        weight[window] += ramp
    eps = tiled(inner, 4, 2)(x, 400)
    np.testing.assert_allclose(eps[0, :, 0], total / weight, rtol=1e-5)


@pytree_class
class SeesAnImage(Prior):
    """Predicts what it sees besides x_t."""

    schedule: Schedule = static_field(default=LOCAL.schedule)
    seen: Any = None
    sees = "pinv"

    def condition(self, *, label=None, image=None):
        del label
        return self if image is None else dataclasses.replace(self, seen=image)

    def __call__(self, x_t, t):
        return self.seen + 0 * x_t


def test_an_image_besides_x_t_is_cut_into_windows():
    image = noise(13, 21, 3)
    for prior in (
        tiled(SeesAnImage(), 8, 3).condition(image=image),
        tiled(SeesAnImage(seen=image), 8, 3),
    ):
        eps = prior(jnp.zeros((13, 21, 3)), 300)
        np.testing.assert_allclose(eps, image, atol=1e-5)
    operator = ops.inpaint((13, 21, 3), ops.random_mask((13, 21, 3), 0.5, 0))
    problem = Problem(operator, operator.apply(image))
    restored = restore(tiled(SeesAnImage(), 8, 3), problem, jax.random.key(0), DDIM(2))
    assert restored.shape == (13, 21, 3)


@functools.cache
def small_unet():
    config = UNetConfig(32, (1, 1), 1, ())
    x = jnp.zeros((1, 16, 16, 3))
    params = jax.jit(UNet(config).init)(jax.random.key(0), x, jnp.zeros(1))["params"]
    return network_prior(UNet(config), params, "linear")


def test_memory_is_that_of_a_chunk():
    prior = small_unet()

    def scratch(prior, width):
        def pull(x):
            return jax.vjp(lambda x: prior(x, 500), x)[1](x)[0]

        x = jax.ShapeDtypeStruct((16, width, 3), jnp.float32)
        compiled = jax.jit(pull).lower(x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, windows = (scratch(p, 512) for p in (prior, tiled(prior, 16, 4, chunk=1)))
    assert windows < whole / 5
    assert windows < 2 * scratch(tiled(prior, 16, 4, chunk=1), 64)


def test_images_of_any_size_are_restored_by_a_prior_of_one():
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    inner = gaussian_prior(np.zeros((8, 8, 1)), 0.2 * np.kron(line, line))
    prior = tiled(inner, 8, 4)
    for shape in ((8, 8, 1), (5, 6, 1), (13, 21, 1)):
        x = jnp.broadcast_to(jnp.linspace(-0.5, 0.5, shape[1])[:, None], shape)
        operator = ops.inpaint(shape, ops.random_mask(shape, 0.5, 0))
        problem = Problem(operator, operator.apply(x))
        image = restore(prior, problem, jax.random.key(0), DDIM(50, eta=0.0))
        assert image.shape == shape
        assert jnp.sqrt(jnp.mean((image - x) ** 2)) < 0.12
    problem = Problem(ops.identity((8, 8, 1)), noise(8, 8, 1))
    whole, same = (
        restore(p, problem, jax.random.key(0), DDIM()) for p in (inner, prior)
    )
    np.testing.assert_allclose(whole, same, atol=1e-4)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: tiled(small_unet(), 15, 4), "multiple of 2"),
        (lambda: tiled(LOCAL, 8, 8), "overlap must be from 0 to 7"),
        (lambda: tiled(LOCAL, 8, 2, chunk=0), "chunk must be a whole number from 1"),
        (
            lambda: tiled(gaussian_prior(np.zeros((4, 4, 1)), np.eye(16)), 8, 2),
            "tile must be 4, the size of this prior",
        ),
    ],
)
def test_a_bad_request_is_answered(make, message):
    with pytest.raises(ValueError, match=message):
        make()
