"""The exact posterior against dense formulas, a grid, and a sampler that knows it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from pigdm_jax import (
    Problem,
    exact_posterior,
    gaussian_prior,
    mixture_prior,
    restore,
)
from pigdm_jax import operators as ops
from pigdm_jax.guidance import Calibrated, Moment, Pseudoinverse
from pigdm_jax.guidance.base import denoise
from pigdm_jax.operators.parsing import parse
from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.priors.schedule import r2, step_at
from pigdm_jax.samplers import DDIM

SHAPE = (2, 3, 1)
N = 6


def covariance(seed):
    root = np.random.default_rng(seed).normal(size=(N, N))
    return root @ root.T / N + 0.1 * np.eye(N)


def values(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_references_posteriors_are_reproduced(shared):
    problems = json.loads((shared / "reference/gaussian.json").read_text())
    for name, reference in problems.items():
        matrix, y = np.array(reference["H"]), np.array(reference["y"])
        n = matrix.shape[1]
        prior = gaussian_prior(np.zeros((1, n, 1)), reference["prior_covariance"])
        operator = ops.separable((1, n, 1), columns=matrix)
        y = y.reshape(1, -1, 1).astype(np.float32)
        found = exact_posterior(prior, Problem(operator, y, reference["sigma_y"]))
        np.testing.assert_allclose(
            found.mean.ravel(), reference["posterior_mean"], atol=1e-6, err_msg=name
        )
        np.testing.assert_allclose(
            found.covariance, reference["posterior_covariance"], atol=1e-6, err_msg=name
        )


def test_hidden_pixels_and_their_noise_tell_nothing():
    prior = gaussian_prior(values(SHAPE), covariance(0))
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    operator = ops.inpaint(SHAPE, mask)
    x = values(SHAPE, 1)
    noise = values(SHAPE, 2)
    seen = mask[..., None] == 1
    one = exact_posterior(prior, Problem(operator, x * seen + noise, 0.5))
    two = exact_posterior(prior, Problem(operator, (x + noise) * seen, 0.5))
    np.testing.assert_allclose(one.mean, two.mean, atol=1e-6)
    exact = exact_posterior(prior, Problem(operator, x * seen))
    np.testing.assert_allclose(exact.mean[seen], x[seen], atol=1e-5)
    assert np.abs(np.diag(exact.covariance)[seen.ravel()]).max() < 1e-6


def test_a_mixture_is_weighed_as_bayes_says():
    """In one dimension, against the product of prior and likelihood on a grid."""
    weights, means, variances = [0.3, 0.7], [-1.0, 2.0], [0.5, 0.2]
    prior = mixture_prior(
        weights, np.reshape(means, (2, 1, 1, 1)), np.reshape(variances, (2, 1, 1))
    )
    y = np.full((1, 1, 1), 0.6, np.float32)
    found = exact_posterior(prior, Problem(ops.identity((1, 1, 1)), y, 1))
    grid = np.linspace(-10, 10, 200_001)
    density = sum(
        w * scipy.stats.norm(m, v**0.5).pdf(grid)
        for w, m, v in zip(weights, means, variances, strict=True)
    ) * scipy.stats.norm(grid, 1).pdf(0.6)
    density /= density.sum()
    mean = density @ grid
    np.testing.assert_allclose(found.mean.item(), mean, atol=1e-5)
    variance = density @ (grid - mean) ** 2
    np.testing.assert_allclose(found.covariance.item(), variance, atol=1e-5)


def test_samples_have_the_mixtures_moments():
    prior = mixture_prior(
        [1, 2, 3], values((3, *SHAPE)), [covariance(i) for i in range(3)]
    )
    count = 100_000
    draws = jax.vmap(prior.sample)(jax.random.split(jax.random.key(0), count))
    draws = np.asarray(draws, np.float64).reshape(count, N)
    std = np.sqrt(np.diag(prior.covariance))
    off = (draws.mean(0) - prior.mean.ravel()) / std
    assert np.abs(off).max() < 5 / np.sqrt(count)
    ratio = (np.cov(draws.T) - prior.covariance) / np.outer(std, std)
    assert np.abs(ratio).max() < 10 / np.sqrt(count)


def test_restoring_comes_to_the_posterior_and_so_does_its_own_prior():
    """Moment guidance by many steps, and the posterior sampled as a prior."""
    prior = gaussian_prior(values(SHAPE), covariance(3))
    operator = ops.separable(SHAPE, columns=values((2, 3), 4))
    problem = Problem(operator, values((2, 2, 1), 5), 0.3)
    truth = exact_posterior(prior, problem)
    count = 4000
    keys = jax.random.split(jax.random.key(1), count)
    sampler = DDIM(200, guidance=Moment())
    guided = jax.vmap(lambda key: restore(prior, problem, key, sampler))(keys)
    nothing = Problem(ops.inpaint(SHAPE, np.zeros(SHAPE[:2])), jnp.zeros(SHAPE))
    unguided = jax.vmap(lambda key: restore(truth, nothing, key, DDIM(200)))(keys)
    std = np.sqrt(np.diag(truth.covariance))
    for draws in (guided, unguided):
        draws = np.asarray(draws, np.float64).reshape(count, N)
        off = (draws.mean(0) - truth.mean.ravel()) / std
        assert np.abs(off).max() < 0.05 + 5 / np.sqrt(count)
        ratio = (np.cov(draws.T) - truth.covariance) / np.outer(std, std)
        assert np.abs(ratio).max() < 0.05 + 10 / np.sqrt(count)


EXAMPLES = {
    "inpaint": "inpaint:center,4",
    "super_resolution": "super_resolution:2,bicubic",
    "quantize": "quantize:3",
    "walsh_hadamard": "walsh_hadamard:0.5",
    "fourier": "fourier:2",
    "crop": "crop:4,6",
    "blur": "gaussian_blur:1",
}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_closed_form_priors_work_with_every_operator_under_vmap(name):
    shape = (8, 8, 3)
    n = 8 * 8 * 3
    mixture = mixture_prior(
        [1, 1], values((2, *shape)) / 3, np.stack([np.eye(n) / 4, np.eye(n) / 9])
    )
    operator = parse(EXAMPLES.get(name, name), shape)
    x = jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 2))
    ys = jax.vmap(operator.apply)(x)
    keys = jax.random.split(jax.random.key(1), 2)

    def run(y, key):
        return restore(mixture, Problem(operator, y), key, DDIM(4))

    images = jax.vmap(run)(ys, keys)
    assert images.shape == x.shape and jnp.isfinite(images).all()
    alone = run(jax.tree.map(lambda a: a[1], ys), keys[1])
    np.testing.assert_allclose(images[1], alone, atol=1e-3)


@pytest.mark.parametrize("guidance", [Calibrated(), Moment()], ids=str)
@pytest.mark.parametrize("noise_std", [0.2, 0.0])
def test_guidance_by_the_covariance_is_the_papers_where_that_is_r2(guidance, noise_std):
    """Under N(m, I) the covariance of x0 given x_t is r_t^2 I."""
    shape = (4, 4, 1)
    prior = gaussian_prior(values(shape), np.eye(16))
    # Three sums of two columns: no image measures just any y, noise-free.
    sums = np.array([[1, 0], [0.5, 0.5], [0, 1]]) @ np.array(
        [[1, 1, 0, 0], [0, 0, 1, 2]]
    )
    operator = ops.separable(shape, columns=sums)
    problem = Problem(operator, values((4, 3, 1), 1), noise_std)
    one, two = (
        restore(prior, problem, jax.random.key(0), DDIM(guidance=guided))
        for guided in (Pseudoinverse("posterior"), guidance)
    )
    np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.parametrize("guidance, measured", [(Calibrated(), 1), (Moment(), 3)])
@pytest.mark.parametrize("noise_std", [0.2, 0.0])
def test_guidance_by_the_covariance_is_exact(guidance, measured, noise_std):
    """Calibrated where y is one number: its one direction is all there is."""
    prior = gaussian_prior(values(SHAPE), covariance(5))
    rows, columns = values((1, 2), 4), values((measured, 3), 6)
    operator = ops.separable(SHAPE, rows=rows, columns=columns)
    y, x_t = values((1, measured, 1), 1), values(SHAPE, 2)
    problem, step = Problem(operator, y, noise_std), step_at(prior.schedule, 300, 200)
    denoised = denoise(prior, jnp.asarray(x_t), step)
    found = guidance.gradient(problem, denoised, step)

    matrix = np.kron(rows, columns)
    jacobian = jax.jacobian(lambda x: denoise(prior, x, step).x0)(jnp.asarray(x_t))
    jacobian = np.asarray(jacobian, np.float64).reshape(N, N)
    a, b = float(step.a_t), float(step.b_t)
    covariance_of_y = b / np.sqrt(a) * matrix @ jacobian @ matrix.T
    covariance_of_y += noise_std**2 * np.eye(measured)
    residual = y.ravel() - matrix @ np.asarray(denoised.x0).ravel()
    pull = jacobian.T @ matrix.T @ np.linalg.solve(covariance_of_y, residual)
    expected = float(r2(step)) * pull
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-3, atol=1e-5)

    # r_t^2 cancels: the score gains H^T's pull as it is, and x0 and eps follow it.
    guided = guidance(prior, problem, jnp.asarray(x_t), step)
    shift = (guided.guided_x0 - guided.x0).ravel()
    np.testing.assert_allclose(shift, b / np.sqrt(a) * pull, rtol=2e-3, atol=1e-5)
    shift = (guided.guided_eps - guided.eps).ravel()
    np.testing.assert_allclose(shift, -np.sqrt(b) * pull, rtol=2e-3, atol=1e-5)


def test_moment_guidance_without_noise_keeps_what_a_mask_shows():
    """Hidden pixels make the system singular."""
    prior = gaussian_prior(values(SHAPE), covariance(5))
    operator = ops.inpaint(SHAPE, np.array([[1, 0, 1], [0, 0, 1]]))
    y = operator.apply(values(SHAPE, 1))
    sampler = DDIM(200, guidance=Moment())
    image = restore(prior, Problem(operator, y), jax.random.key(0), sampler)
    np.testing.assert_allclose(operator.apply(image), y, atol=0.02)


def test_a_bad_request_is_answered():
    prior = gaussian_prior(np.zeros(SHAPE), np.eye(N))
    y = jnp.zeros(SHAPE)
    with pytest.raises(ValueError, match="only for linear operators"):
        exact_posterior(prior, Problem(ops.quantize(SHAPE, 4), y))
    with pytest.raises(ValueError, match="from 0 on"):
        exact_posterior(prior, Problem(ops.identity(SHAPE), y, -1.0))
    points = mixture_prior([1, 1], values((2, *SHAPE)), np.zeros((2, N, N)))
    with pytest.raises(ValueError, match="noise_std above 0"):
        exact_posterior(points, Problem(ops.identity(SHAPE), y))
