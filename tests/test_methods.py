"""Every method where its law or its fixed point is known: Gaussian priors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from dense import dense

from pigdm_jax import from_denoiser, gaussian_prior, measurement_residual, restore
from pigdm_jax import operators as ops
from pigdm_jax.guidance import GUIDANCES, WEIGHTS
from pigdm_jax.methods import METHODS, SAMPLERS
from pigdm_jax.methods.base import Problem
from pigdm_jax.methods.conjugate import coefficients
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import ddim_coefficients, run, step_table

SHAPE = (4, 4, 1)
N = 16
KEY = jax.random.key(0)
VARIANCE = 0.6


def values(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def white_prior(variance=VARIANCE):
    return gaussian_prior(np.zeros(SHAPE), variance * np.eye(N))


def rough_covariance():
    line = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    return 0.7 * np.kron(line, line)


def rough_prior():
    return gaussian_prior(np.zeros(SHAPE), rough_covariance())


def problem(prior, operator, y, noise_std=0.0, eta=0.5, scale=1.0, lam=0.0):
    numbers = (noise_std, eta, scale, lam)
    return Problem(prior, operator, jnp.asarray(y), *map(jnp.float32, numbers))


def step_at(prior, level, following, eta=0.5):
    table = step_table(prior.schedule, np.array([0, following, level]))
    row = jax.tree.map(lambda column: column[0], table)
    return ddim_coefficients(row, jnp.float32(eta), jnp.float32(1))


def method_named(name):
    if name in METHODS:
        return METHODS[name]
    return SAMPLERS[name](Rule(GUIDANCES["pseudoinverse"], WEIGHTS["adaptive"]))


def draws(method, prior, operator, y, count, **options):
    keys = jax.random.split(KEY, count)
    run = partial(restore, prior, operator, y, method=method, **options)
    return np.asarray(jax.vmap(run)(keys), np.float64)


MASK = np.indices((4, 4)).sum(0) % 2


@pytest.mark.parametrize("method, eta", [("ddrm", 0.0), ("ddnm", 0.0), ("ccdf", 1.0)])
def test_hidden_pixels_of_a_white_prior_keep_its_law(method, eta):
    # With fresh noise DDRM and DDNM forget x_t, and with it the spread of x0.
    operator = ops.inpaint(SHAPE, MASK)
    y = operator.apply(jnp.asarray(values(SHAPE)))
    x = draws(method, white_prior(), operator, y, 2000, steps=200, eta=eta, start=1000)
    seen = MASK.astype(bool)
    np.testing.assert_allclose(x[:, seen], np.tile(y[seen], (2000, 1, 1)), atol=1e-4)
    hidden = x[:, ~seen]
    error = np.sqrt(2 / hidden.size)
    assert abs(hidden.var() / VARIANCE - 1) < 5 * error + 0.02
    assert abs(hidden.mean()) < 5 * np.sqrt(VARIANCE / hidden.size)


# Singular values on both sides of what the level's noise covers, and zeros.
SINGULAR = np.array([2.0, 1.0, 0.05, 0.0])


@pytest.mark.parametrize("method", ["ddrm", "ddnm", "fitted"])
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("level, following", [(900, 700), (300, 100), (60, 5)])
def test_a_sample_keeps_its_noise_level(method, noise_std, level, following):
    """With a prior that knows x0, x_s is N(sqrt(a_s) x0, 1 - a_s) as x_t was at t."""
    x0 = jnp.asarray(values(SHAPE))
    prior = from_denoiser(lambda x, t: x0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    operator = ops.separable(SHAPE, columns=rotation @ np.diag(SINGULAR) @ rotation.T)
    step = step_at(prior, level, following)

    def one(key):
        keys = jax.random.split(key, 3)
        noise, measured = (jax.random.normal(k, SHAPE) for k in keys[:2])
        y = operator.apply(x0) + noise_std * measured
        x_t = jnp.sqrt(step.a_t) * x0 + jnp.sqrt(step.b_t) * noise
        given = problem(prior, operator, y, noise_std)
        return method_named(method).step(given, x_t, step, keys[2]).state

    count = 20_000
    x_s = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, count)), np.float64)
    off = (x_s - np.sqrt(step.a_s) * x0) / np.sqrt(step.b_s)
    off = off.reshape(count, -1)
    covariance = off.T @ off / count
    assert np.abs(covariance - np.eye(N)).max() < 6 * np.sqrt(2 / count)


def test_ddrm_starts_at_the_noise_of_its_level():
    x0 = jnp.asarray(values(SHAPE))
    prior = from_denoiser(lambda x, t: x0)
    operator = ops.separable(SHAPE, columns=np.diag(SINGULAR))
    step = step_at(prior, 500, 400)

    def one(key):
        keys = jax.random.split(key)
        y = operator.apply(x0) + 0.5 * jax.random.normal(keys[0], SHAPE)
        x = jnp.sqrt(step.b_t) * jax.random.normal(keys[1], SHAPE)
        return METHODS["ddrm"].begin(problem(prior, operator, y, 0.5), x, step)

    count = 20_000
    x = np.asarray(jax.vmap(one)(jax.random.split(KEY, count)), np.float64)
    seen = np.array([True, True, False, False])
    off = x - np.where(seen[:, None], np.sqrt(step.a_t) * x0, 0)
    variance = np.mean(off**2, axis=0)
    np.testing.assert_allclose(variance, step.b_t, rtol=6 * np.sqrt(2 / count))


def gaussian_step(step, covariance):
    """x0_hat = J x and eps = E x of a prior N(0, C), as matrices in float64."""
    a, b = (np.float64(v) for v in (step.a_t, step.b_t))
    total = np.linalg.inv(a * covariance + b * np.eye(len(covariance)))
    return np.sqrt(a) * covariance @ total, np.sqrt(b) * total


def test_dps_descends_the_norm_of_the_residual():
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    step = step_at(prior, 400, 300, eta=0.0)
    matrix, y, x_t = dense(operator), values((2, 2, 1), 1), values(SHAPE, 2)
    made = METHODS["dps"].step(
        problem(prior, operator, y, eta=0.0, scale=0.7), jnp.asarray(x_t), step, KEY
    )
    j, e = gaussian_step(step, rough_covariance())
    flat = x_t.ravel().astype(np.float64)
    difference = y.ravel() - matrix @ j @ flat
    gradient = j.T @ matrix.T @ difference / np.linalg.norm(difference)
    expected = np.sqrt(step.a_s) * j @ flat + step.c2 * e @ flat + 0.7 * gradient
    np.testing.assert_allclose(made.state.ravel(), expected, atol=1e-4)


def test_dps_follows_a_nonlinear_measurement():
    operator = ops.nonlinear(SHAPE, jnp.tanh, jnp.arctanh)
    y = operator.apply(0.5 * jnp.asarray(values(SHAPE)))
    residuals = [
        measurement_residual(
            operator,
            y,
            restore(
                white_prior(), operator, y, KEY, method="dps", steps=100, scale=scale
            ),
        )
        for scale in (0.0, 0.3)
    ]
    assert residuals[1] < 0.3 * residuals[0]


def test_reconstruction_guidance_is_the_transpose_with_vdm_weight():
    operator = ops.super_resolution(SHAPE, 2)
    y = jnp.asarray(values((2, 2, 1)))
    run = partial(restore, rough_prior(), operator, y, KEY, steps=7, scale=2.0)
    one = run(method="reconstruction")
    two = run(guidance="reconstruction", weight="vdm")
    np.testing.assert_array_equal(one, two)


def test_diffpir_fits_by_its_closed_form():
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    step = step_at(prior, 400, 300)
    matrix, y, x_t = dense(operator), values((2, 2, 1), 1), values(SHAPE, 2)
    made = METHODS["diffpir"].step(
        problem(prior, operator, y, 0.2, eta=0.0), jnp.asarray(x_t), step, KEY
    )
    j, _ = gaussian_step(step, rough_covariance())
    flat = x_t.ravel().astype(np.float64)
    damping = 8 * 0.2**2 * step.a_t / step.b_t
    # Where the gradient of ||y - H x||^2 + damping ||x - x0||^2 is 0.
    fitted = np.linalg.solve(
        matrix.T @ matrix + damping * np.eye(N),
        matrix.T @ y.ravel() + damping * j @ flat,
    )
    eps = (flat - np.sqrt(step.a_t) * fitted) / np.sqrt(step.b_t)
    expected = np.sqrt(step.a_s) * fitted + np.sqrt(step.b_s) * eps
    np.testing.assert_allclose(made.state.ravel(), expected, atol=1e-4)


def test_plug_and_play_rests_where_red_does():
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    step = step_at(prior, 300, 200)
    y, noise_std = values((2, 2, 1), 1), 0.3
    given = problem(prior, operator, y, noise_std)
    method = METHODS["pnp"]
    x = method.begin(given, jnp.zeros(SHAPE), step)
    advance = jax.jit(lambda x: method.step(given, x, step, KEY).state)
    for _ in range(2000):
        x = advance(x)
    matrix, flat = dense(operator), np.asarray(x, np.float64).ravel()
    j, _ = gaussian_step(step, rough_covariance())
    denoised = j @ (np.sqrt(step.a_t) * flat)
    strength = 0.23 * step.a_t / step.b_t
    misfit = matrix.T @ (matrix @ flat - y.ravel()) / noise_std**2
    balance = misfit + strength * (flat - denoised)
    assert np.abs(balance).max() < 1e-3 * np.abs(misfit).max()


def test_red_diff_rests_where_its_loss_is_least():
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    step = step_at(prior, 300, 200)
    matrix, y = dense(operator), values((2, 2, 1), 1)
    given, method = problem(prior, operator, y), METHODS["red_diff"]

    def one(key):
        def body(state, i):
            made = method.step(given, state, step, jax.random.fold_in(key, i)).state
            return made, made.image

        state = method.begin(given, jnp.zeros(SHAPE), step)
        return jax.lax.scan(body, state, jnp.arange(1500))[1][500:].mean(0)

    mean = jax.jit(jax.vmap(one))(jax.random.split(KEY, 32)).mean(0)
    _, e = gaussian_step(step, rough_covariance())
    weight = 0.25 * np.sqrt(step.b_t / step.a_t)
    # The noise has no mean, so what is left of the gradient is linear.
    system = matrix.T @ matrix + weight * np.sqrt(step.a_t) * e
    expected = np.linalg.solve(system, matrix.T @ y.ravel())
    np.testing.assert_allclose(mean.ravel(), expected, atol=0.03)


def test_snips_draws_from_the_posterior():
    noise_std, gain = 0.4, 0.8
    operator = ops.separable(SHAPE, columns=gain * np.eye(4))
    y = jnp.asarray(values(SHAPE))
    prior = white_prior()
    table = step_table(prior.schedule, prior.schedule.levels(1000))
    given, method = problem(prior, operator, y, noise_std), METHODS["snips"]
    first = step_at(prior, 1000, 999, eta=0.0)

    def one(key):
        state = method.begin(given, jax.random.normal(key, SHAPE), first)
        advance = partial(method.step, given)
        numbers = {"eta": given.eta, "data_variance": jnp.float32(1)}
        return run(advance, state, key, table, **numbers)[0].x

    x = np.asarray(jax.vmap(one)(jax.random.split(KEY, 2000)), np.float64)
    variance = 1 / (1 / VARIANCE + gain**2 / noise_std**2)
    mean = variance * gain * np.asarray(y) / noise_std**2
    # The chain lags behind its falling noise: 8 % of the way from H+ y is left.
    distance = np.abs(np.asarray(y) / gain - mean)
    assert np.all(np.abs(x.mean(0) - mean) < 0.1 * distance + 0.04)
    # Langevin steps of c = 0.23 are wider than the law by 1 / (1 - c / 2).
    assert 1 - 0.1 < x.var(0).mean() / variance < 1.25


def test_multistep_is_of_second_order():
    """The unguided ODE of a Gaussian prior has a closed form."""
    prior, operator = white_prior(0.25), ops.identity(SHAPE)
    start = jax.random.normal(jax.random.fold_in(KEY, 0), SHAPE)
    a = prior.schedule.alpha_bar_at_level[-1]
    exact = start * np.sqrt(0.25 / (0.25 * a + 1 - a))
    errors = {
        sampler: [
            float(
                jnp.abs(
                    restore(
                        prior,
                        operator,
                        jnp.zeros(SHAPE),
                        KEY,
                        steps=steps,
                        eta=0.0,
                        scale=0.0,
                        sampler=sampler,
                    )
                    - exact
                ).max()
            )
            for steps in (80, 320)
        ]
        for sampler in ("ddim", "multistep")
    }
    assert 3 < errors["ddim"][0] / errors["ddim"][1] < 5
    assert errors["multistep"][0] / errors["multistep"][1] > 12
    assert errors["multistep"][0] < 0.1 * errors["ddim"][0]


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
def test_samplers_agree_where_the_steps_are_many(noise_std):
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    y = jnp.asarray(values((2, 2, 1)))
    run = partial(
        restore,
        prior,
        operator,
        y,
        KEY,
        eta=0.0,
        noise_std=noise_std,
        weight="posterior",
        start=1000,
    )
    truth = run(steps=1000)

    def off(sampler, steps):
        return float(jnp.abs(run(steps=steps, sampler=sampler) - truth).max())

    assert off("multistep", 100) < 0.5 * off("ddim", 100)
    # Its error starts in the stiff first steps and falls slowly.
    assert off("conjugate", 1000) < 0.25 * off("conjugate", 50)
    assert off("conjugate", 1000) < 0.04


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("value, noise_std", [(1.0, 0.0), (0.7, 0.2), (0.0, 0.2)])
@pytest.mark.parametrize("s_t, s_s", [(150.0, 20.0), (2.0, 0.7), (0.3, 0.02)])
def test_conjugate_coefficients_solve_their_equation(
    adaptive, lam, value, noise_std, s_t, s_s
):
    w = 1.3

    def slope(s, u, terms):
        known, e, network = terms
        p = w * s**2 / (1 + s**2) if adaptive else w
        gamma = 0.0
        if value:
            d2 = value**2
            gamma = d2 * s**2 / (noise_std**2 + (d2 + noise_std**2) * s**2)
        q = p * gamma
        eps = e + lam * s / (1 + s**2) * u
        pull = (1 + s**2) / s * q * (known - (u - s * eps))
        return eps - pull + p * np.sqrt(1 + s**2) * network

    found = coefficients(
        *map(jnp.float32, (s_t, s_s, value, noise_std, w, lam)), adaptive
    )
    cases = {
        "sample": (1.0, (0, 0, 0)),
        "measured": (0.0, (1, 0, 0)),
        "eps": (0.0, (0, 1, 0)),
        "network": (0.0, (0, 0, 1)),
    }
    for name, (u, terms) in cases.items():
        solved = scipy.integrate.solve_ivp(
            slope, (s_t, s_s), [u], args=(terms,), method="LSODA", rtol=1e-9, atol=1e-10
        )
        np.testing.assert_allclose(
            getattr(found, name), solved.y[0, -1], rtol=1e-3, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("kernel", ["box", "bicubic"])
def test_the_conjugate_sampler_ends_at_a_noiseless_measurement(kernel):
    operator = ops.super_resolution(SHAPE, 2, kernel)
    y = jnp.asarray(values((2, 2, 1)))
    x = restore(
        rough_prior(),
        operator,
        y,
        KEY,
        sampler="conjugate",
        weight="posterior",
        steps=5,
    )
    assert measurement_residual(operator, y, x) < 1e-3


def test_the_conjugate_sampler_begins_late():
    """From pure noise, a few steps with a network end far from any image."""
    operator = ops.super_resolution(SHAPE, 2)
    y = jnp.asarray(values((2, 2, 1)))
    run = partial(restore, rough_prior(), operator, y, KEY, sampler="conjugate")
    np.testing.assert_array_equal(run(steps=5), run(steps=5, start=200))


def test_a_projection_does_where_singular_values_are_unknown():
    operator = ops.super_resolution(SHAPE, 2)
    unknown = ops.linear(SHAPE, operator.apply)
    y = jnp.asarray(values((2, 2, 1)))
    one, two = (
        restore(rough_prior(), o, y, KEY, sampler="conjugate", steps=5)
        for o in (operator, unknown)
    )
    np.testing.assert_allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    "operator",
    [
        ops.super_resolution(SHAPE, 2, "bicubic"),
        ops.linear(SHAPE, ops.super_resolution(SHAPE, 2, "bicubic").apply),
        ops.quantize(SHAPE, 2),
    ],
)
def test_the_fitted_sampler_ends_at_a_noiseless_measurement(operator):
    y = operator.apply(jnp.tanh(jnp.asarray(values(SHAPE))))
    x = restore(rough_prior(), operator, y, KEY, sampler="fitted", steps=5)
    assert measurement_residual(operator, y, x) < 1e-4


def test_the_fitted_sampler_guides_what_is_hidden():
    prior, operator = rough_prior(), ops.inpaint(SHAPE, MASK)
    step = step_at(prior, 400, 300)
    x_t, y = values(SHAPE, 2), operator.apply(jnp.asarray(values(SHAPE, 1)))
    given = problem(prior, operator, y, eta=0.0)
    made = method_named("fitted").step(given, jnp.asarray(x_t), step, KEY)
    j, e = gaussian_step(step, rough_covariance())
    flat, seen = x_t.ravel().astype(np.float64), MASK.ravel() == 1
    pull = np.where(seen, np.asarray(y).ravel() - j @ flat, 0)
    x0 = np.where(
        seen, np.asarray(y).ravel(), j @ flat + 2 * np.sqrt(step.a_t) * j.T @ pull
    )
    expected = np.sqrt(step.a_s) * x0 + np.sqrt(step.b_s) * e @ flat
    np.testing.assert_allclose(made.state.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "operator, weight, expected",
    [
        (ops.inpaint(SHAPE, MASK), None, "calibrated"),
        (ops.inpaint(SHAPE, MASK), "adaptive", "pseudoinverse"),
        (ops.quantize(SHAPE, 2), None, "pseudoinverse"),
    ],
)
def test_the_fitted_sampler_is_calibrated_where_it_can_be(operator, weight, expected):
    y = operator.apply(jnp.tanh(jnp.asarray(values(SHAPE))))
    options = {"sampler": "fitted", "weight": weight, "steps": 4}
    one, two = (
        restore(rough_prior(), operator, y, KEY, guidance=rule, **options)
        for rule in (None, expected)
    )
    np.testing.assert_array_equal(one, two)


def test_the_fitted_sampler_keeps_the_measured_noise():
    """What y shows is not guided; its own noise is all there is at eta 0."""
    prior, operator = rough_prior(), ops.identity(SHAPE)
    step = step_at(prior, 20, 10)
    x_t, y = values(SHAPE, 2), jnp.asarray(values(SHAPE, 1))
    given = problem(prior, operator, y, noise_std=0.5, eta=0.0)
    made = method_named("fitted").step(given, jnp.asarray(x_t), step, KEY)
    j, _ = gaussian_step(step, rough_covariance())
    x0 = (j @ x_t.ravel().astype(np.float64)).reshape(SHAPE)
    expected = np.sqrt(step.a_s) * x0 + np.sqrt(step.b_s) * (y - x0) / 0.5
    np.testing.assert_allclose(made.state, expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_in_a_batch_and_tells_its_steps(method):
    operator = ops.super_resolution(SHAPE, 2, "bicubic")
    ys = jnp.asarray(values((3, 2, 2, 1)))
    keys = jax.random.split(KEY, 3)
    run = partial(restore, rough_prior(), operator, method=method, steps=4, trace=True)
    images, traces = jax.vmap(run)(ys, keys)
    alone, trace = run(ys[1], keys[1], on_step=lambda i: None)
    np.testing.assert_allclose(images[1], alone, atol=2e-5)
    assert trace.residual.shape == (4,) and jnp.isfinite(trace.guidance_norm).all()
    np.testing.assert_allclose(traces.residual[1], trace.residual, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "magic"}, "method is one of pigdm, "),
        ({"method": "dps", "weight": "adaptive"}, "weight is pigdm's"),
        ({"method": "ddrm", "sampler": "multistep"}, "sampler is pigdm's"),
        ({"method": "pnp", "eta": 0.5}, "eta plays no part in pnp"),
        ({"sampler": "conjugate", "eta": 1.0}, "eta plays no part in the conjugate"),
        ({"sampler": "conjugate", "weight": "vdm"}, "weight is adaptive or posterior"),
        ({"sampler": "conjugate", "guidance": "moment"}, "integrates pseudoinverse"),
    ],
)
def test_words_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        restore(white_prior(), ops.identity(SHAPE), jnp.zeros(SHAPE), KEY, **options)


@pytest.mark.parametrize(
    "operator, options, message",
    [
        (ops.quantize(SHAPE, 2), {"method": "dps"}, "with a gradient"),
        (ops.quantize(SHAPE, 2), {"method": "ccdf"}, "needs a linear operator"),
        (ops.quantize(SHAPE, 2), {"sampler": "conjugate"}, "needs a linear operator"),
        (ops.linear(SHAPE, lambda x: x), {"method": "ddrm"}, "singular values"),
        (
            ops.linear(SHAPE, lambda x: x),
            {"sampler": "conjugate", "noise_std": 0.1},
            "singular values",
        ),
    ],
)
def test_operators_that_a_method_cannot_use_are_refused(operator, options, message):
    y = operator.apply(jnp.zeros(SHAPE))
    with pytest.raises(ValueError, match=message):
        restore(white_prior(), operator, y, KEY, **options)
