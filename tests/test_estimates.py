"""Samplers that estimate the truth: one denoising, and the mean of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import (
    Prior,
    Problem,
    Schedule,
    from_denoiser,
    gaussian_prior,
    measure,
    pytree_class,
    restore,
    static_field,
    tiled,
)
from pigdm_jax import operators as ops
from pigdm_jax.priors.mirrored import MirroredPrior
from pigdm_jax.samplers import DDIM, DDNM, Denoiser, Fitted, Mean, Relaxed, default

SHAPE = (4, 5, 1)
N = 20
KEY = jax.random.key(0)


def rough_prior(mean=0.1, variance=0.5):
    line = 0.8 ** np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    return gaussian_prior(np.full(SHAPE, mean), variance * line), variance * line


def noisy(std, seed=0, mean=0.0):
    y = mean + std * np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    return Problem(ops.identity(SHAPE), y, std)


@pytest.mark.parametrize("std", [0.02, 0.3, 2.0])
def test_denoising_is_the_posterior_mean(std):
    prior, covariance = rough_prior()
    problem = noisy(std)
    gain = covariance @ np.linalg.inv(covariance + std**2 * np.eye(N))
    expected = 0.1 + (gain @ (problem.y.ravel() - 0.1)).reshape(SHAPE)
    image = restore(prior, problem, KEY, Denoiser())
    np.testing.assert_allclose(image, expected, atol=3e-3 * std + 1e-4)


def test_denoising_reports_its_evaluations_and_fills_up_sizes():
    prior, _ = rough_prior()
    calls = []
    image, trace = restore(
        prior,
        noisy(0.3),
        KEY,
        Denoiser(),
        trace=True,
        on_step=lambda i, _: calls.append(i),
    )
    assert calls == [1] and trace.residual.shape == trace.t.shape == (1,)
    again = restore(prior, noisy(0.3), KEY, Denoiser())
    np.testing.assert_allclose(image, again, atol=1e-6)
    flat = from_denoiser(lambda x_t, t: 0 * x_t + x_t.mean(), multiple=8)
    grey = Problem(ops.identity((5, 6, 3)), jnp.full((5, 6, 3), 0.4), 0.1)
    # The border is repeated, not black.
    scale = 1 / np.sqrt(1 + 0.1**2)
    np.testing.assert_allclose(
        restore(flat, grey, KEY, Denoiser()), 0.4 * scale, atol=2e-3
    )


@pytree_class
class Lopsided(Prior):
    """A prior that does not predict mirror images alike."""

    symmetries: int = static_field(default=1)
    schedule = Schedule.linear()

    def __call__(self, x_t, t):
        weights = jax.random.normal(jax.random.key(1), x_t.shape)
        return jnp.tanh(weights * x_t + weights)


@pytest.mark.parametrize("views", [2, 4, 8])
def test_mirror_images_are_restored_as_mirror_images(views):
    mirrors = [lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x.swapaxes(0, 1)]
    y = jax.random.normal(KEY, (6, 6, 1))

    def restored(y):
        problem = Problem(ops.identity(y.shape), y, 0.2)
        return restore(Lopsided(), problem, KEY, Denoiser(views))

    image = restored(y)
    one = restore(Lopsided(), Problem(ops.identity(y.shape), y, 0.2), KEY, Denoiser())
    assert np.abs(image - one).max() > 0.01
    for mirror in mirrors[: views.bit_length() - 1]:
        np.testing.assert_allclose(restored(mirror(y)), mirror(image), atol=1e-5)


def test_views_are_evaluations():
    assert Denoiser(views=4).evaluations == 4
    steps = []
    image, trace = restore(
        Lopsided(),
        noisy(0.3),
        KEY,
        Denoiser(4),
        trace=True,
        on_step=lambda i, info: steps.append((i, info.x0)),
    )
    assert [i for i, _ in steps] == [1, 2, 3, 4] and trace.t.shape == (4,)
    at_once = restore(Lopsided(), noisy(0.3), KEY, Denoiser(4))
    np.testing.assert_allclose(image, at_once, atol=1e-6)
    np.testing.assert_allclose(image, steps[-1][1], atol=1e-6)


def test_views_that_an_image_does_not_have_are_refused():
    prior, _ = rough_prior()
    with pytest.raises(ValueError, match="views must be 1, 2, 4 or 8, got 3"):
        Denoiser(views=3)
    with pytest.raises(ValueError, match="need a square image, got 4 x 5"):
        restore(prior, noisy(0.3), KEY, Denoiser(views=8))


@pytest.mark.parametrize("shape, views", [((6, 6, 1), 8), ((6, 5, 1), 4)])
def test_a_symmetric_prior_denoises_by_all_views(shape, views):
    problem = Problem(ops.identity(shape), jnp.zeros(shape), 0.1)
    assert str(default(Lopsided(8), problem)) == f"denoiser:views={views}"
    assert str(default(Lopsided(1), problem)) == "denoiser"
    assert str(default(tiled(Lopsided(2), 4, 1), problem)) == "denoiser:views=2"


def test_denoising_is_refused_where_there_is_something_else_to_do():
    prior, _ = rough_prior()
    problem = measure(ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.5)), jnp.zeros(SHAPE))
    with pytest.raises(ValueError, match="can only denoise"):
        restore(prior, problem, KEY, Denoiser())


def test_a_mean_is_that_of_samples_with_their_own_keys():
    prior, _ = rough_prior()
    problem = measure(ops.uniform_blur(SHAPE, 3), jnp.zeros(SHAPE), KEY, noise_std=0.3)
    sampler = Mean(DDIM(3), samples=3)
    assert sampler.evaluations == 9
    keys = [jax.random.fold_in(KEY, k) for k in range(3)]
    samples = [restore(prior, problem, key, DDIM(3)) for key in keys]
    image = restore(prior, problem, KEY, sampler)
    np.testing.assert_allclose(image, np.mean(samples, 0), atol=1e-5)
    steps = []
    slowly, trace = restore(
        prior, problem, KEY, sampler, trace=True, on_step=lambda i, _: steps.append(i)
    )
    np.testing.assert_allclose(slowly, image, atol=1e-5)
    assert steps == list(range(1, 10)) and trace.t.shape == (3,)
    batch = jax.vmap(lambda key: restore(prior, problem, key, sampler))(jnp.stack(keys))
    alone = restore(prior, problem, keys[1], sampler)
    np.testing.assert_allclose(batch[1], alone, atol=2e-5)
    with pytest.raises(ValueError, match="samples must be"):
        Mean(DDIM(3), samples=0)


def test_each_sample_of_a_mean_has_another_mirror_image():
    prior, x_t = Lopsided(), jax.random.normal(KEY, (6, 4, 1))
    problem = measure(ops.super_resolution(x_t.shape, 2), jnp.tanh(x_t))
    inner, t = DDIM(3), jnp.float32(300)
    mean = restore(prior, problem, KEY, Mean(inner, samples=2, views=2))
    samples = [
        restore(seen, problem, jax.random.fold_in(KEY, k), inner)
        for k, seen in enumerate((prior, MirroredPrior(prior, 1, 2)))
    ]
    np.testing.assert_allclose(mean, np.mean(samples, 0), atol=1e-5)
    mirrored = prior(x_t[:, ::-1], t)[:, ::-1]
    np.testing.assert_allclose(MirroredPrior(prior, 1, 2)(x_t, t), mirrored)
    assert float(jnp.abs(mirrored - prior(x_t, t)).max()) > 1e-3
    with pytest.raises(ValueError, match="views must be"):
        Mean(inner, views=3)
    with pytest.raises(ValueError, match="need a square image"):
        restore(prior, problem, KEY, Mean(inner, views=8))


def test_the_aim_chooses_the_sampler():
    prior, _ = rough_prior()
    denoising = noisy(0.3)
    quantised = measure(ops.quantize(SHAPE, 3), jnp.zeros(SHAPE))
    blurred = measure(ops.uniform_blur(SHAPE, 3), jnp.zeros(SHAPE))
    assert str(default(prior, denoising)) == "denoiser"
    with pytest.raises(ValueError, match="has no steps"):
        default(prior, denoising, 20, "fidelity")
    assert isinstance(default(prior, denoising, 20, "detail"), DDNM)
    assert default(prior, denoising, 7).evaluations == 7
    assert isinstance(default(prior, quantised), Relaxed)
    assert isinstance(default(prior, blurred, aim="detail"), Fitted)
    for problem in (quantised, blurred):
        sampler = default(prior, problem, 5, "fidelity")
        assert isinstance(sampler, Mean) and sampler.evaluations == 20
    with pytest.raises(ValueError, match="aim must be"):
        default(prior, blurred, aim="beauty")
