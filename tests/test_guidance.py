"""Guided sampling where its output is known exactly: Gaussian priors.

There every step is affine in the sample, so the output's distribution follows from a
recursion in float64: for each of the four weights, at any eta.
"""

import dataclasses
import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense import dense

from pigdm_jax import Problem, gaussian_prior, guidance, pytree_class, restore, samplers
from pigdm_jax import operators as ops
from pigdm_jax.guidance import Moment, Pseudoinverse, Reconstruction
from pigdm_jax.guidance.base import denoise
from pigdm_jax.guidance.weights import WEIGHTS
from pigdm_jax.priors.schedule import step_at
from pigdm_jax.priors.tiling import tiled
from pigdm_jax.restoration import check_request
from pigdm_jax.samplers import DDIM, Mean
from pigdm_jax.simulation import measure
from pigdm_jax.weights.store import load_prior

KEY = jax.random.key(0)


def affine_recursion(
    covariance, matrix, sigma_y, y, weight, levels, eta, data_variance=1.0
):
    """(mean, covariance) of the sampler's output, by the formulas of the paper."""
    n = len(covariance)
    alpha_bar = np.cumprod(np.append(1, 1 - np.linspace(1e-4, 0.02, 1000)))[levels]
    mean, output_covariance = np.zeros(n), np.eye(n)
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
        mean = m @ mean + w * gain @ y
        output_covariance = m @ output_covariance @ m.T + c1**2 * np.eye(n)
    return mean, output_covariance


@pytree_class
class StartingAt(DDIM):
    """DDIM from a given sample instead of pure noise."""

    first: Any = None

    def begin(self, prior, problem, x, step, key):
        return self.first


def outputs(prior, problem, starts, keys, sampler):
    """Where a DDIM sampler ends from given starting samples."""
    fields = {f.name: getattr(sampler, f.name) for f in dataclasses.fields(sampler)}

    def one(x, key):
        return StartingAt(**fields, first=x).sample(prior, problem, key)[0]

    # One step from pure noise magnifies rounding, and XLA's usual loops round less than
    # those that tests/conftest.py chooses.
    options = {}
    if sampler.steps == 1 and "use_fusion_emitters" in os.environ["XLA_FLAGS"]:
        options = {"xla_cpu_use_fusion_emitters": True}
    return jax.jit(jax.vmap(one), compiler_options=options)(starts, keys)


def distribution_without_noise(prior, problem, sampler):
    """(mean, covariance) of the output at eta = 0, from zero and the unit vectors."""
    shape = problem.operator.image_shape
    n = int(np.prod(shape))
    starts = jnp.concatenate([jnp.zeros((1, n)), jnp.eye(n)]).reshape(-1, *shape)
    keys = jax.random.split(KEY, n + 1)
    sampler = dataclasses.replace(sampler, eta=0.0)
    out = outputs(prior, problem, starts, keys, sampler)
    out = np.asarray(out, np.float64).reshape(n + 1, n)
    slope = (out[1:] - out[0]).T
    return out[0], slope @ slope.T


def scalar_problem(y, noise_std):
    return Problem(
        ops.identity((1, 1, 1)), np.full((1, 1, 1), y, np.float32), noise_std or None
    )


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("noise_std, data_variance", [(0.3, 1.0), (0.0, 0.4)])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_each_weight_follows_its_scalar_recursion(
    weight, noise_std, data_variance, steps
):
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), 0.7))
    guided = Pseudoinverse(weight, data_variance=data_variance)
    mean, variance = distribution_without_noise(
        prior, scalar_problem(0.8, noise_std), DDIM(steps, guidance=guided)
    )
    levels = np.rint(np.arange(steps + 1) * 1000 / steps).astype(int)
    one = np.eye(1)
    expected = affine_recursion(
        0.7 * one, one, noise_std, 0.8 * one[0], weight, levels, 0.0, data_variance
    )
    # The one step from pure noise divides eps's rounding by sqrt(alpha_bar) = 0.006.
    rtol = 1e-2 if steps == 1 else 2e-4
    np.testing.assert_allclose(mean, expected[0], rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(variance, expected[1], rtol=2 * rtol, atol=2e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_fresh_noise_has_the_variance_of_the_recursion(weight):
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), 0.7))
    problem, count, steps = scalar_problem(0.8, 0.3), 40_000, 20
    sampler = DDIM(steps, eta=0.8, guidance=Pseudoinverse(weight))
    keys = jax.random.split(jax.random.key(1), count)
    samples = jax.vmap(lambda key: restore(prior, problem, key, sampler))(keys).ravel()
    one = np.eye(1)
    levels = 50 * np.arange(steps + 1)
    mean, variance = affine_recursion(
        0.7 * one, one, 0.3, 0.8 * one[0], weight, levels, 0.8
    )
    error = np.sqrt(variance.item() / count)
    assert abs(samples.mean() - mean.item()) < 5 * error
    assert abs(samples.var() / variance.item() - 1) < 5 * np.sqrt(2 / count)


def test_without_eta_the_steps_add_no_noise():
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), 0.7))
    starts, keys = jnp.ones((2, 1, 1, 1)), jax.random.split(KEY, 2)
    problem = scalar_problem(0.8, 0.3)
    one, two = outputs(prior, problem, starts, keys, DDIM(5, eta=0.0))
    np.testing.assert_array_equal(one, two)
    one, two = outputs(prior, problem, starts, keys, DDIM(5))
    assert jnp.abs(one - two).max() > 1e-3


def reference_problem(reference, name):
    """(prior, problem) of the reference figures, as 1 x n images."""
    covariance, matrix, y = (
        np.array(reference[key]) for key in ("prior_covariance", "H", "y")
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
    y = y.reshape(1, -1, 1).astype(np.float32)
    return prior, Problem(operator, y, reference["sigma_y"] or None)


@pytest.mark.parametrize(
    "name", ["denoise_iso", "inpaint_ar", "pool_ar", "pool_ar_noiseless"]
)
def test_the_reference_distributions_are_reproduced(shared, name):
    reference = json.loads((shared / "reference/gaussian.json").read_text())[name]
    prior, problem = reference_problem(reference, name)
    n = prior.image_shape[1]
    count = 4000
    for row in reference["sampler_output"]:
        if row["steps"] > 100 and row["eta"] > 0:
            continue
        # Moment's weight is always this one.
        exact = "covariance_of_x0" in row
        assert not exact or row["weight"] == "posterior"
        guided = Moment() if exact else Pseudoinverse(row["weight"])
        sampler = DDIM(row["steps"], eta=row["eta"], guidance=guided)
        expected = np.array(row["covariance"]).reshape(n, n)
        if row["eta"] == 0:
            mean, covariance = distribution_without_noise(prior, problem, sampler)
            np.testing.assert_allclose(mean, row["mean"], atol=2e-4, err_msg=str(row))
            np.testing.assert_allclose(covariance, expected, atol=2e-4)
        elif row["eta"] == 1 and row["steps"] == 100:
            keys = jax.random.split(jax.random.key(2), count)
            starts = jax.random.normal(jax.random.key(3), (count, 1, n, 1))
            samples = outputs(prior, problem, starts, keys, sampler)
            samples = np.asarray(samples, np.float64).reshape(count, n)
            std = np.sqrt(np.diag(expected))
            off = (samples.mean(0) - row["mean"]) / std * np.sqrt(count)
            assert np.abs(off).max() < 5, row["weight"]
            correlation = (np.cov(samples.T) - expected) / np.outer(std, std)
            assert np.abs(correlation).max() < 5 * np.sqrt(2 / count), row["weight"]


def test_the_posterior_weight_converges_to_the_posterior():
    prior = gaussian_prior(np.zeros((1, 1, 1)), np.eye(1))
    problem = scalar_problem(1.0, 0.3)
    truth = 1 / (1 + 0.3**2)
    errors = []
    for steps in (20, 100, 1000):
        sampler = DDIM(steps, guidance=Pseudoinverse("posterior"))
        mean, variance = distribution_without_noise(prior, problem, sampler)
        std = np.sqrt([variance.item(), truth * 0.3**2])
        errors.append(np.hypot(mean.item() - truth, std[0] - std[1]))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.01


def test_reconstruction_guidance_is_the_transpose_with_vdm_weight():
    shape = (4, 4, 1)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(16, 16))
    prior = gaussian_prior(rng.normal(size=shape), root @ root.T / 16)
    operator = ops.super_resolution(shape, 2, "bicubic")
    y = rng.normal(size=(2, 2, 1)).astype(np.float32)
    x_t = jnp.asarray(rng.normal(size=shape), jnp.float32)
    step = step_at(prior.schedule, 400, 300)
    found = Reconstruction(scale=2.0)(prior, Problem(operator, y), x_t, step)

    jacobian = jax.jacobian(lambda x: denoise(prior, x, step).x0)(x_t)
    jacobian = np.asarray(jacobian, np.float64).reshape(16, 16)
    matrix = dense(operator)
    difference = y.ravel() - matrix @ np.asarray(found.x0, np.float64).ravel()
    gradient = (jacobian.T @ matrix.T @ difference).reshape(shape)
    a, b = float(step.a_t), float(step.b_t)
    shift = {
        "x0": found.guided_x0 - found.x0,
        "eps": found.guided_eps - found.eps,
    }
    np.testing.assert_allclose(shift["x0"], 2 * np.sqrt(a) * gradient, atol=1e-5)
    np.testing.assert_allclose(shift["eps"], -2 * a / np.sqrt(b) * gradient, atol=1e-5)

    one, two = (
        restore(prior, Problem(operator, y), KEY, sampler)
        for sampler in (
            DDIM(7, guidance=Reconstruction(scale=2.0)),
            samplers.parse("ddim:steps=7,guidance=(reconstruction:weight=vdm,scale=2)"),
        )
    )
    np.testing.assert_array_equal(one, two)


def test_reconstruction_guidance_pulls_by_the_transpose(smooth_prior):
    # Pool's transpose is its pseudoinverse over factor^2.
    shape = (8, 8, 3)
    operator = ops.super_resolution(shape, 2)
    x = jax.random.uniform(KEY, shape, minval=-1, maxval=1)
    problem = Problem(operator, operator.apply(x))
    transpose, pinv = (
        restore(smooth_prior, problem, KEY, DDIM(9, guidance=guided))
        for guided in (Reconstruction("adaptive", scale=4.0), Pseudoinverse())
    )
    np.testing.assert_allclose(transpose, pinv, atol=1e-4)


@pytest.mark.parametrize("name", guidance.GUIDANCES)
@pytest.mark.parametrize("clip", [False, True])
def test_a_guidance_of_scale_0_leaves_the_prediction_as_it_is(name, clip):
    prior = gaussian_prior(np.zeros((2, 3, 1)), np.eye(6))
    problem = Problem(ops.identity((2, 3, 1)), jnp.ones((2, 3, 1)))
    x_t, step = 3 * jax.random.normal(KEY, (2, 3, 1)), step_at(prior.schedule, 500)
    found = guidance.GUIDANCES[name](scale=0.0, clip=clip)(prior, problem, x_t, step)
    np.testing.assert_array_equal(found.guided_x0, found.x0)
    np.testing.assert_array_equal(found.guided_eps, found.eps)
    # Clipped or not, x0 and eps make x_t.
    assert (jnp.abs(found.x0).max() <= 1) == clip
    again = jnp.sqrt(step.a_t) * found.x0 + jnp.sqrt(step.b_t) * found.eps
    np.testing.assert_allclose(again, x_t, atol=1e-5)


@pytest.mark.parametrize("name", guidance.GUIDANCES)
def test_a_guidance_is_what_its_text_says(name):
    guided = guidance.GUIDANCES[name](scale=0.5, clip=True)
    assert str(guided) == f"{name}:scale=0.5,clip=true"
    assert str(guidance.parse(str(guided))) == str(guided)
    assert guidance.parse(name).clip is False
    with pytest.raises(ValueError, match=f"guidance {name} has parameters"):
        guidance.parse(f"{name}:eta=1")


def test_the_posterior_weight_is_refused_where_a_network_diverges(smooth_prior):
    """Its exact Jacobian vanishes with alpha_bar; that of a network does not."""
    network = tiled(load_prior("photos-64"), 8, 0)
    problem = measure(ops.super_resolution((8, 8, 3), 2), jnp.zeros((8, 8, 3)))

    def check(prior, sampler):
        check_request(prior, problem, sampler)

    for rule in (Pseudoinverse("posterior"), Reconstruction("posterior")):
        for sampler in (DDIM(20, guidance=rule), Mean(DDIM(20, guidance=rule))):
            with pytest.raises(ValueError, match="set clip=True in the guidance, or"):
                check(network, sampler)
            check(smooth_prior, sampler)
        check(network, DDIM(20, guidance=rule, start=0.5))
        check(network, DDIM(20, guidance=dataclasses.replace(rule, clip=True)))
    check(network, DDIM(20, guidance=Moment()))
