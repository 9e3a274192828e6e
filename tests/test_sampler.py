"""The sampling loop where its output is known exactly: Gaussian priors.

There every step is affine in the sample, so the output's law follows from a recursion
in float64: for each of the four weights, at any eta.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import Schedule, gaussian_prior, restore
from pigdm_jax import operators as ops
from pigdm_jax.guidance import GUIDANCES, WEIGHTS
from pigdm_jax.methods.base import Problem
from pigdm_jax.methods.pigdm import pigdm
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import run, step_table

RULES = sorted(WEIGHTS)


def affine_law(covariance, matrix, sigma_y, y, weight, levels, eta, data_variance=1.0):
    """(mean, covariance) of the sampler's output, by the formulas of the paper."""
    n = len(covariance)
    alpha_bar = np.cumprod(np.append(1, 1 - np.linspace(1e-4, 0.02, 1000)))[levels]
    mean, law = np.zeros(n), np.eye(n)
    for a, s in zip(alpha_bar[:0:-1], alpha_bar[-2::-1], strict=True):
        total = np.linalg.inv(a * covariance + (1 - a) * np.eye(n))
        x0, eps = np.sqrt(a) * covariance @ total, np.sqrt(1 - a) * total
        variance = (1 - a) / a
        r2 = variance * data_variance / (variance + data_variance)
        square = matrix @ matrix.T + sigma_y**2 / r2 * np.eye(len(matrix))
        gain = x0.T @ matrix.T @ np.linalg.inv(square)
        c1 = eta * np.sqrt((1 - a / s) * (1 - s) / (1 - a))
        c2 = np.sqrt(1 - s - c1**2)
        w = {
            "adaptive": np.sqrt(a * s),
            "algorithm1": np.sqrt(a),
            "vdm": np.sqrt(a) * (np.sqrt(s) - c2 * np.sqrt(a / (1 - a))),
            "posterior": (1 - a) / r2 * (np.sqrt(s / a) - c2 / np.sqrt(1 - a)),
        }[weight]
        m = np.sqrt(s) * x0 + c2 * eps - w * gain @ matrix @ x0
        mean, law = m @ mean + w * gain @ y, m @ law @ m.T + c1**2 * np.eye(n)
    return mean, law


def outputs(prior, operator, y, starts, keys, steps, eta, **options):
    """Where the loop ends from given starting samples."""
    defaults = {
        "noise_std": 0.0,
        "data_variance": 1.0,
        "weight": "adaptive",
        "guidance": "pseudoinverse",
    }
    options = defaults | options
    table = step_table(prior.schedule, prior.schedule.levels(steps))

    numbers = (options["noise_std"], eta, 1.0, 0.0)
    problem = Problem(prior, operator, jnp.asarray(y), *map(jnp.float32, numbers))
    method = pigdm(Rule(GUIDANCES[options["guidance"]], WEIGHTS[options["weight"]]))

    def one(x, key):
        return run(
            partial(method.step, problem),
            x,
            key,
            table,
            eta=problem.eta,
            data_variance=jnp.float32(options["data_variance"]),
        )[0]

    return jax.jit(jax.vmap(one))(starts, keys)


def law_without_noise(prior, operator, y, **options):
    """(mean, covariance) of the output at eta = 0, from zero and the unit vectors."""
    shape = operator.image_shape
    n = int(np.prod(shape))
    starts = jnp.concatenate([jnp.zeros((1, n)), jnp.eye(n)]).reshape(-1, *shape)
    keys = jax.random.split(jax.random.key(0), n + 1)
    out = outputs(prior, operator, y, starts, keys, eta=0.0, **options)
    out = np.asarray(out, np.float64).reshape(n + 1, n)
    slope = (out[1:] - out[0]).T
    return out[0], slope @ slope.T


@pytest.mark.parametrize("weight", RULES)
@pytest.mark.parametrize("noise_std, data_variance", [(0.3, 1.0), (0.0, 0.4)])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_each_weight_follows_its_scalar_recursion(
    weight, noise_std, data_variance, steps
):
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), 0.7))
    operator = ops.identity((1, 1, 1))
    y = np.full((1, 1, 1), 0.8, np.float32)
    mean, variance = law_without_noise(
        prior,
        operator,
        y,
        noise_std=noise_std,
        data_variance=data_variance,
        weight=weight,
        steps=steps,
    )
    levels = np.rint(np.arange(steps + 1) * 1000 / steps).astype(int)
    one = np.eye(1)
    expected = affine_law(
        0.7 * one, one, noise_std, y.ravel(), weight, levels, 0.0, data_variance
    )
    # The one step from pure noise divides eps's rounding by sqrt(alpha_bar) = 0.006.
    rtol = 1e-2 if steps == 1 else 2e-4
    np.testing.assert_allclose(mean, expected[0], rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(variance, expected[1], rtol=2 * rtol, atol=2e-5)


@pytest.mark.parametrize("weight", RULES)
def test_fresh_noise_has_the_variance_of_the_recursion(weight):
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), 0.7))
    y = np.full((1, 1, 1), 0.8, np.float32)
    count, steps = 40_000, 20
    keys = jax.random.split(jax.random.key(1), count)
    samples = jax.vmap(
        lambda key: restore(
            prior,
            ops.identity((1, 1, 1)),
            y,
            key,
            steps=steps,
            eta=0.8,
            noise_std=0.3,
            weight=weight,
        )
    )(keys).ravel()
    one = np.eye(1)
    levels = 50 * np.arange(steps + 1)
    mean, variance = affine_law(0.7 * one, one, 0.3, y.ravel(), weight, levels, 0.8)
    error = np.sqrt(variance.item() / count)
    assert abs(samples.mean() - mean.item()) < 5 * error
    assert abs(samples.var() / variance.item() - 1) < 5 * np.sqrt(2 / count)


def reference_problem(problem, name):
    """(prior, operator, y) of a problem of the reference figures, as 1 x n images."""
    covariance, matrix, y = (
        np.array(problem[key]) for key in ("prior_covariance", "H", "y")
    )
    n = len(covariance)
    prior = gaussian_prior(np.zeros((1, n, 1)), covariance)
    if name.startswith("inpaint"):
        operator = ops.inpaint((1, n, 1), matrix.sum(0)[None])
        y = matrix.T @ y
    elif name.startswith("pool"):
        operator = ops.separable((1, n, 1), columns=matrix)
    else:
        operator = ops.identity((1, n, 1))
    return prior, operator, y.reshape(1, -1, 1).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["denoise_iso", "inpaint_ar", "pool_ar", "pool_ar_noiseless"]
)
def test_the_reference_laws_are_reproduced(shared, name):
    problem = json.loads((shared / "reference/gaussian.json").read_text())[name]
    prior, operator, y = reference_problem(problem, name)
    n = prior.image_shape[1]
    count = 4000
    for row in problem["sampler_output"]:
        if row["steps"] > 100 and row["eta"] > 0:
            continue
        exact = "covariance_of_x0" in row
        options = {
            "guidance": "moment" if exact else "pseudoinverse",
            "noise_std": problem["sigma_y"],
            "weight": row["weight"],
            "steps": row["steps"],
        }
        if row["eta"] == 0:
            mean, law = law_without_noise(prior, operator, y, **options)
            np.testing.assert_allclose(mean, row["mean"], atol=2e-4, err_msg=str(row))
            np.testing.assert_allclose(
                law, np.array(row["covariance"]).reshape(n, n), atol=2e-4
            )
        elif row["eta"] == 1 and row["steps"] == 100:
            keys = jax.random.split(jax.random.key(2), count)
            starts = jax.random.normal(jax.random.key(3), (count, 1, n, 1))
            samples = outputs(prior, operator, y, starts, keys, eta=1.0, **options)
            samples = np.asarray(samples, np.float64).reshape(count, n)
            law = np.array(row["covariance"]).reshape(n, n)
            spread = np.sqrt(np.diag(law))
            off = (samples.mean(0) - row["mean"]) / spread * np.sqrt(count)
            assert np.abs(off).max() < 5, row["weight"]
            correlation = (np.cov(samples.T) - law) / np.outer(spread, spread)
            assert np.abs(correlation).max() < 5 * np.sqrt(2 / count), row["weight"]


def test_the_posterior_weight_converges_to_the_posterior():
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.eye(1))
    y = np.full((1, 1, 1), 1.0, np.float32)
    truth = 1 / (1 + 0.3**2)
    errors = []
    for steps in (20, 100, 1000):
        mean, variance = law_without_noise(
            prior,
            ops.identity((1, 1, 1)),
            y,
            noise_std=0.3,
            weight="posterior",
            steps=steps,
        )
        spread = np.sqrt([variance.item(), truth * 0.3**2])
        errors.append(np.hypot(mean.item() - truth, spread[0] - spread[1]))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.01


def test_step_table_ends_clean_and_keeps_its_digits():
    schedule = Schedule.linear()
    table = step_table(schedule, schedule.levels(1000))
    assert table.a_s[-1] == 1 and table.b_s[-1] == 0
    np.testing.assert_allclose(table.b_t[-1], 1e-4, rtol=1e-6)
    np.testing.assert_allclose(table.fresh + table.kept, 1, atol=1e-6)
    np.testing.assert_array_equal(table.t, np.arange(999, -1, -1))
