"""The exact posterior against dense formulas, a grid, and a sampler that knows it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from pigdm_jax import exact_posterior, gaussian_prior, mixture_prior, restore
from pigdm_jax import operators as ops
from pigdm_jax.guidance import GUIDANCES, Step, denoise, guide
from pigdm_jax.operators.registry import REGISTRY, parse

SHAPE = (2, 3, 1)
N = 6


def covariance(seed):
    root = np.random.default_rng(seed).normal(size=(N, N))
    return root @ root.T / N + 0.1 * np.eye(N)


def values(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_references_posteriors_are_reproduced(shared):
    problems = json.loads((shared / "reference/gaussian.json").read_text())
    for name, problem in problems.items():
        matrix, y = np.array(problem["H"]), np.array(problem["y"])
        n = matrix.shape[1]
        prior = gaussian_prior(np.zeros((1, n, 1)), problem["prior_covariance"])
        operator = ops.separable((1, n, 1), columns=matrix)
        y = y.reshape(1, -1, 1).astype(np.float32)
        found = exact_posterior(prior, operator, y, noise_std=problem["sigma_y"])
        np.testing.assert_allclose(
            found.mean.ravel(), problem["posterior_mean"], atol=1e-6, err_msg=name
        )
        np.testing.assert_allclose(
            found.covariance, problem["posterior_covariance"], atol=1e-6, err_msg=name
        )


def test_hidden_pixels_and_their_noise_tell_nothing():
    prior = gaussian_prior(values(SHAPE), covariance(0))
    mask = np.array([[1, 0, 1], [0, 0, 1]])
    operator = ops.inpaint(SHAPE, mask)
    x = values(SHAPE, 1)
    noise = values(SHAPE, 2)
    seen = mask[..., None] == 1
    one = exact_posterior(prior, operator, x * seen + noise, noise_std=0.5)
    two = exact_posterior(prior, operator, (x + noise) * seen, noise_std=0.5)
    np.testing.assert_allclose(one.mean, two.mean, atol=1e-6)
    exact = exact_posterior(prior, operator, x * seen)
    np.testing.assert_allclose(exact.mean[seen], x[seen], atol=1e-5)
    assert np.abs(np.diag(exact.covariance)[seen.ravel()]).max() < 1e-6


def test_a_mixture_is_weighed_as_bayes_says():
    """In one dimension, against the product of prior and likelihood on a grid."""
    weights, means, variances = [0.3, 0.7], [-1.0, 2.0], [0.5, 0.2]
    prior = mixture_prior(
        weights, np.reshape(means, (2, 1, 1, 1)), np.reshape(variances, (2, 1, 1))
    )
    found = exact_posterior(
        prior, ops.identity((1, 1, 1)), np.full((1, 1, 1), 0.6, np.float32), noise_std=1
    )
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
    spread = np.sqrt(np.diag(prior.covariance))
    off = (draws.mean(0) - prior.mean.ravel()) / spread
    assert np.abs(off).max() < 5 / np.sqrt(count)
    ratio = (np.cov(draws.T) - prior.covariance) / np.outer(spread, spread)
    assert np.abs(ratio).max() < 10 / np.sqrt(count)


def test_restoring_comes_to_the_posterior_and_so_does_its_own_prior():
    """Moment guidance by many steps, and the posterior sampled as a prior."""
    prior = gaussian_prior(values(SHAPE), covariance(3))
    operator = ops.separable(SHAPE, columns=values((2, 3), 4))
    y = values((2, 2, 1), 5)
    truth = exact_posterior(prior, operator, y, noise_std=0.3)
    count = 4000
    keys = jax.random.split(jax.random.key(1), count)
    guided = jax.vmap(
        lambda key: restore(
            prior,
            operator,
            y,
            key,
            steps=200,
            noise_std=0.3,
            weight="posterior",
            guidance="moment",
        )
    )(keys)
    nothing = ops.inpaint(SHAPE, np.zeros(SHAPE[:2]))
    unguided = jax.vmap(
        lambda key: restore(truth, nothing, jnp.zeros(SHAPE), key, steps=200)
    )(keys)
    spread = np.sqrt(np.diag(truth.covariance))
    for draws in (guided, unguided):
        draws = np.asarray(draws, np.float64).reshape(count, N)
        off = (draws.mean(0) - truth.mean.ravel()) / spread
        assert np.abs(off).max() < 0.05 + 5 / np.sqrt(count)
        ratio = (np.cov(draws.T) - truth.covariance) / np.outer(spread, spread)
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
    images = jax.vmap(lambda y, key: restore(mixture, operator, y, key, steps=4))(
        ys, keys
    )
    assert images.shape == x.shape and jnp.isfinite(images).all()
    alone = restore(
        mixture, operator, jax.tree.map(lambda a: a[1], ys), keys[1], steps=4
    )
    np.testing.assert_allclose(images[1], alone, atol=1e-3)


@pytest.mark.parametrize("rule", ["calibrated", "moment"])
@pytest.mark.parametrize("noise_std", [0.2, 0.0])
def test_guidance_by_the_covariance_is_the_papers_where_that_is_r2(rule, noise_std):
    """Under N(m, I) the covariance of x0 given x_t is r_t^2 I."""
    shape = (4, 4, 1)
    prior = gaussian_prior(values(shape), np.eye(16))
    # Three sums of two columns: no image measures just any y, noise-free.
    sums = np.array([[1, 0], [0.5, 0.5], [0, 1]]) @ np.array(
        [[1, 1, 0, 0], [0, 0, 1, 2]]
    )
    operator = ops.separable(shape, columns=sums)
    y = values((4, 3, 1), 1)
    one, two = (
        restore(
            prior,
            operator,
            y,
            jax.random.key(0),
            noise_std=noise_std,
            weight="posterior",
            guidance=rule,
        )
        for rule in ("pseudoinverse", rule)
    )
    np.testing.assert_allclose(one, two, atol=2e-3)


@pytest.mark.parametrize("rule, measured", [("calibrated", 1), ("moment", 3)])
@pytest.mark.parametrize("noise_std", [0.2, 0.0])
def test_guidance_by_the_covariance_is_exact(rule, measured, noise_std):
    """Calibrated where y is one number: its one direction is all there is."""
    prior = gaussian_prior(values(SHAPE), covariance(5))
    rows, columns = values((1, 2), 4), values((measured, 3), 6)
    operator = ops.separable(SHAPE, rows=rows, columns=columns)
    y, x_t = values((1, measured, 1), 1), values(SHAPE, 2)
    a, b, r2 = 0.3, 0.7, 0.9
    step = Step(*map(jnp.float32, (300, a, b, 0.5, 0.5, 0.1, 0.6, r2)))
    guidance = GUIDANCES[rule]
    found = guide(prior, operator, y, x_t, step, noise_std**2, guidance)

    matrix = np.kron(rows, columns)
    jacobian = jax.jacobian(lambda x: denoise(prior, x, step).x0)(jnp.asarray(x_t))
    jacobian = np.asarray(jacobian, np.float64).reshape(N, N)
    spread = b / np.sqrt(a) * matrix @ jacobian @ matrix.T
    residual = y.ravel() - matrix @ np.asarray(found.x0).ravel()
    pull = np.linalg.solve(spread + noise_std**2 * np.eye(measured), residual)
    expected = r2 * jacobian.T @ matrix.T @ pull
    np.testing.assert_allclose(found.gradient.ravel(), expected, rtol=1e-3, atol=1e-5)


def test_moment_guidance_without_noise_keeps_what_a_mask_shows():
    """Hidden pixels make the system singular."""
    prior = gaussian_prior(values(SHAPE), covariance(5))
    operator = ops.inpaint(SHAPE, np.array([[1, 0, 1], [0, 0, 1]]))
    y = operator.apply(values(SHAPE, 1))
    image = restore(
        prior,
        operator,
        y,
        jax.random.key(0),
        steps=200,
        weight="posterior",
        guidance="moment",
    )
    np.testing.assert_allclose(operator.apply(image), y, atol=0.02)


def test_a_bad_request_is_answered():
    prior = gaussian_prior(np.zeros(SHAPE), np.eye(N))
    y = jnp.zeros(SHAPE)
    with pytest.raises(ValueError, match="linear operators alone"):
        exact_posterior(prior, ops.quantize(SHAPE, 4), y)
    with pytest.raises(ValueError, match="at least 0"):
        exact_posterior(prior, ops.identity(SHAPE), y, noise_std=-1.0)
    points = mixture_prior([1, 1], values((2, *SHAPE)), np.zeros((2, N, N)))
    with pytest.raises(ValueError, match="noise_std above 0"):
        exact_posterior(points, ops.identity(SHAPE), y)
