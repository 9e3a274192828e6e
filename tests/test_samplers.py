"""Every sampler where its distribution or its fixed point is known: Gaussian priors."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from dense import dense, tikhonov
from spaced import SPACED

from pigdm_jax import (
    Problem,
    Schedule,
    from_denoiser,
    gaussian_prior,
    measurement_residual,
    pytree_class,
    restore,
)
from pigdm_jax import operators as ops
from pigdm_jax.guidance import Calibrated, Moment, Pseudoinverse, Reconstruction
from pigdm_jax.priors.schedule import step_at
from pigdm_jax.samplers import (
    CCDF,
    DDIM,
    DDNM,
    DDRM,
    DPS,
    SNIPS,
    Conjugate,
    DiffPIR,
    Fitted,
    Multistep,
    PnP,
    REDDiff,
    Relaxed,
    ddim_coefficients,
    parse,
)
from pigdm_jax.samplers.conjugate import step_factors

SHAPE = (4, 4, 1)
N = 16
KEY = jax.random.key(0)
VARIANCE = 0.6
SCHEDULE = Schedule.linear()


def values(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def white_prior(variance=VARIANCE):
    return gaussian_prior(np.zeros(SHAPE), variance * np.eye(N))


def rough_covariance():
    line = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    return 0.7 * np.kron(line, line)


def rough_prior():
    return gaussian_prior(np.zeros(SHAPE), rough_covariance())


def bicubic_problem(noise_std=None, seed=1):
    y = jnp.asarray(values((2, 2, 1), seed))
    return Problem(ops.super_resolution(SHAPE, 2, "bicubic"), y, noise_std)


def draws(prior, problem, sampler, count):
    keys = jax.random.split(KEY, count)
    run = jax.vmap(lambda key: restore(prior, problem, key, sampler))
    return np.asarray(run(keys), np.float64)


MASK = np.indices((4, 4)).sum(0) % 2


@pytest.mark.parametrize(
    "sampler",
    [
        DDRM(200, start=1.0, eta=0.0),
        DDNM(200, start=1.0, eta=0.0),
        CCDF(200, start=1.0, eta=1.0),
    ],
    ids=str,
)
def test_hidden_pixels_of_a_white_prior_keep_its_distribution(sampler):
    # With fresh noise DDRM and DDNM forget x_t, and with it the variance of x0.
    operator = ops.inpaint(SHAPE, MASK)
    y = operator.apply(jnp.asarray(values(SHAPE)))
    problem, prior = Problem(operator, y), white_prior(VARIANCE)
    # Without restore, which clips what agrees with an exact y.
    keys = jax.random.split(KEY, 2000)
    sample = jax.vmap(lambda key: sampler.sample(prior, problem, key)[0])
    x = np.asarray(sample(keys), np.float64)
    seen = MASK.astype(bool)
    np.testing.assert_allclose(x[:, seen], np.tile(y[seen], (2000, 1, 1)), atol=1e-4)
    hidden = x[:, ~seen]
    error = np.sqrt(2 / hidden.size)
    assert abs(hidden.var() / VARIANCE - 1) < 5 * error + 0.02
    assert abs(hidden.mean()) < 5 * np.sqrt(VARIANCE / hidden.size)


# Singular values on both sides of what the level's noise covers, and zeros.
SINGULAR = np.array([2.0, 1.0, 0.05, 0.0])


@pytest.mark.parametrize(
    "sampler, noise_std",
    [
        (DDRM(eta=0.5), 0.0),
        (DDRM(eta=0.5), 0.1),
        (DDNM(eta=0.5), 0.0),
        (DDNM(eta=0.5), 0.1),
        # With noise, what its proximal step takes over from y comes on top.
        (Fitted(eta=0.5, guidance=Pseudoinverse()), 0.0),
    ],
)
@pytest.mark.parametrize("level, following", [(900, 700), (300, 100), (60, 5)])
def test_a_sample_keeps_its_noise_level(sampler, noise_std, level, following):
    """With a prior that knows x0, x_s is N(sqrt(a_s) x0, 1 - a_s) as x_t was at t."""
    x0 = jnp.asarray(values(SHAPE))
    prior = from_denoiser(lambda x, t: x0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    operator = ops.separable(SHAPE, columns=rotation @ np.diag(SINGULAR) @ rotation.T)
    step = step_at(prior.schedule, level, following)

    def one(key):
        keys = jax.random.split(key, 3)
        noise, measured = (jax.random.normal(k, SHAPE) for k in keys[:2])
        y = operator.apply(x0) + noise_std * measured
        x_t = jnp.sqrt(step.a_t) * x0 + jnp.sqrt(step.b_t) * noise
        problem = Problem(operator, y, noise_std)
        return sampler.step(prior, problem, x_t, step, keys[2])[0]

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
    step = step_at(prior.schedule, 500, 400)

    def one(key):
        keys = jax.random.split(key)
        y = operator.apply(x0) + 0.5 * jax.random.normal(keys[0], SHAPE)
        x = jnp.sqrt(step.b_t) * jax.random.normal(keys[1], SHAPE)
        return DDRM().begin(prior, Problem(operator, y, 0.5), x, step, KEY)

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
    prior, problem = rough_prior(), bicubic_problem()
    step = step_at(SCHEDULE, 400, 300)
    matrix, x_t = dense(problem.operator), values(SHAPE, 2)
    x_s, info = DPS(eta=0.0, scale=0.7).step(
        prior, problem, jnp.asarray(x_t), step, KEY
    )
    j, e = gaussian_step(step, rough_covariance())
    _, c2 = ddim_coefficients(step, 0.0)
    flat = x_t.ravel().astype(np.float64)
    difference = np.ravel(problem.y) - matrix @ j @ flat
    gradient = j.T @ matrix.T @ difference / np.linalg.norm(difference)
    expected = np.sqrt(step.a_s) * j @ flat + c2 * e @ flat + 0.7 * gradient
    np.testing.assert_allclose(x_s.ravel(), expected, atol=1e-4)
    np.testing.assert_allclose(info.x0.ravel(), j @ flat, atol=1e-4)
    np.testing.assert_allclose(info.correction.ravel(), 0.7 * gradient, atol=1e-4)
    np.testing.assert_allclose(info.residual, np.linalg.norm(difference) / 2, rtol=1e-4)


def test_dps_follows_a_nonlinear_measurement():
    operator = ops.nonlinear(SHAPE, jnp.tanh, jnp.arctanh)
    problem = Problem(operator, operator.apply(0.5 * jnp.asarray(values(SHAPE))))
    residuals = [
        measurement_residual(
            problem, DPS(scale=scale).sample(white_prior(), problem, KEY)[0]
        )
        for scale in (0.0, 0.3)
    ]
    assert residuals[1] < 0.3 * residuals[0]


def test_diffpir_fits_by_its_closed_form():
    prior, problem = rough_prior(), bicubic_problem(0.2)
    step = step_at(SCHEDULE, 400, 300)
    matrix, x_t = dense(problem.operator), values(SHAPE, 2)
    x_s, _ = DiffPIR(eta=0.0).step(prior, problem, jnp.asarray(x_t), step, KEY)
    j, _ = gaussian_step(step, rough_covariance())
    flat = x_t.ravel().astype(np.float64)
    damping = 8 * 0.2**2 * step.a_t / step.b_t
    # Where the gradient of ||y - H x||^2 + damping ||x - x0||^2 is 0.
    fitted = np.linalg.solve(
        matrix.T @ matrix + damping * np.eye(N),
        matrix.T @ np.ravel(problem.y) + damping * j @ flat,
    )
    eps = (flat - np.sqrt(step.a_t) * fitted) / np.sqrt(step.b_t)
    expected = np.sqrt(step.a_s) * fitted + np.sqrt(step.b_s) * eps
    np.testing.assert_allclose(x_s.ravel(), expected, atol=1e-4)


def test_plug_and_play_rests_where_red_does():
    noise_std = 0.3
    prior, problem, sampler = rough_prior(), bicubic_problem(noise_std), PnP()
    step = step_at(SCHEDULE, 300, 200)
    x = sampler.begin(prior, problem, jnp.zeros(SHAPE), step, KEY)
    advance = jax.jit(lambda x: sampler.step(prior, problem, x, step, KEY)[0])
    for _ in range(2000):
        x = advance(x)
    matrix, flat = dense(problem.operator), np.asarray(x, np.float64).ravel()
    j, _ = gaussian_step(step, rough_covariance())
    denoised = j @ (np.sqrt(step.a_t) * flat)
    strength = 0.23 * step.a_t / step.b_t
    misfit = matrix.T @ (matrix @ flat - np.ravel(problem.y)) / noise_std**2
    balance = misfit + strength * (flat - denoised)
    assert np.abs(balance).max() < 1e-3 * np.abs(misfit).max()


def test_red_diff_rests_where_its_loss_is_least():
    prior, problem, sampler = rough_prior(), bicubic_problem(), REDDiff()
    step = step_at(SCHEDULE, 300, 200)
    matrix = dense(problem.operator)

    def one(key):
        def body(state, i):
            own = jax.random.fold_in(key, i)
            state, _ = sampler.step(prior, problem, state, step, own)
            return state, sampler.image(state)

        state = sampler.begin(prior, problem, jnp.zeros(SHAPE), step, key)
        return jax.lax.scan(body, state, jnp.arange(1500))[1][500:].mean(0)

    mean = jax.jit(jax.vmap(one))(jax.random.split(KEY, 32)).mean(0)
    _, e = gaussian_step(step, rough_covariance())
    weight = 0.25 * np.sqrt(step.b_t / step.a_t)
    # The noise has no mean, so what is left of the gradient is linear.
    system = matrix.T @ matrix + weight * np.sqrt(step.a_t) * e
    expected = np.linalg.solve(system, matrix.T @ np.ravel(problem.y))
    np.testing.assert_allclose(mean.ravel(), expected, atol=0.03)


@pytree_class
class Langevin(SNIPS):
    """SNIPS that returns the sample itself instead of the prediction from it."""

    def image(self, state):
        return state.x


def test_snips_draws_from_the_posterior():
    noise_std, gain = 0.4, 0.8
    operator = ops.separable(SHAPE, columns=gain * np.eye(4))
    y = jnp.asarray(values(SHAPE))
    x = draws(white_prior(), Problem(operator, y, noise_std), Langevin(1000), 2000)
    variance = 1 / (1 / VARIANCE + gain**2 / noise_std**2)
    mean = variance * gain * np.asarray(y) / noise_std**2
    # The chain lags behind its falling noise: 8 % of the way from H+ y is left.
    distance = np.abs(np.asarray(y) / gain - mean)
    assert np.all(np.abs(x.mean(0) - mean) < 0.1 * distance + 0.04)
    # Langevin steps of c = 0.23 are wider than that by 1 / (1 - c / 2).
    assert 1 - 0.1 < x.var(0).mean() / variance < 1.25


def test_multistep_is_of_second_order():
    """The unguided ODE of a Gaussian prior has a closed form."""
    prior = white_prior(0.25)
    problem = Problem(ops.identity(SHAPE), jnp.zeros(SHAPE))
    start = jax.random.normal(jax.random.fold_in(KEY, 0), SHAPE)
    a = prior.schedule.alpha_bar_at_level[-1]
    exact = start * np.sqrt(0.25 / (0.25 * a + 1 - a))
    unguided = Pseudoinverse(scale=0.0)

    def error(kind, steps):
        sampler = kind(steps, eta=0.0, guidance=unguided)
        return float(jnp.abs(restore(prior, problem, KEY, sampler) - exact).max())

    ddim, multistep = ([error(k, n) for n in (80, 320)] for k in (DDIM, Multistep))
    assert 3 < ddim[0] / ddim[1] < 5
    assert multistep[0] / multistep[1] > 12
    assert multistep[0] < 0.1 * ddim[0]


@pytest.mark.parametrize("noise_std", [None, 0.3])
def test_samplers_agree_where_the_steps_are_many(noise_std):
    prior, problem = rough_prior(), bicubic_problem(noise_std, seed=0)
    guided = {"start": 1.0, "eta": 0.0, "guidance": Pseudoinverse("posterior")}
    truth = restore(prior, problem, KEY, DDIM(1000, **guided))

    def off(sampler):
        return float(jnp.abs(restore(prior, problem, KEY, sampler) - truth).max())

    def conjugate(steps):
        return Conjugate(steps, start=1.0, weight="posterior")

    assert off(Multistep(100, **guided)) < 0.5 * off(DDIM(100, **guided))
    # Its error starts in the stiff first steps and falls slowly.
    assert off(conjugate(1000)) < 0.25 * off(conjugate(50))
    assert off(conjugate(1000)) < 0.04


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

    found = step_factors(
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
    problem = Problem(operator, jnp.asarray(values((2, 2, 1))))
    x = restore(rough_prior(), problem, KEY, Conjugate(5, weight="posterior"))
    assert measurement_residual(problem, x) < 1e-3


@pytest.mark.parametrize(
    "sampler, level",
    [(Conjugate(5), 200), (CCDF(5), 200), (PnP(5), 150), (DDIM(5), 1000)],
    ids=str,
)
def test_some_samplers_begin_late(sampler, level):
    """Conjugate: from pure noise, a few steps with a network end far from any image."""
    operator = ops.super_resolution(SHAPE, 2)
    problem = Problem(operator, jnp.asarray(values((2, 2, 1))))
    levels = sampler.levels(SCHEDULE)
    assert levels[-1] == level and len(levels) == sampler.evaluations + 1 == 6
    late = dataclasses.replace(sampler, start=level / 1000)
    init = operator.pinv(problem.y) if level < 1000 else None
    one, two = (
        restore(rough_prior(), problem, KEY, s, init=i)
        for s, i in ((sampler, None), (late if init is not None else sampler, init))
    )
    np.testing.assert_array_equal(one, two)


def test_a_late_start_has_a_level_for_every_step():
    levels = Conjugate(300).levels(SCHEDULE)
    np.testing.assert_array_equal(levels, np.arange(301))


def test_a_projection_does_where_singular_values_are_unknown():
    operator = ops.super_resolution(SHAPE, 2)
    unknown = ops.linear(SHAPE, operator.apply)
    y = jnp.asarray(values((2, 2, 1)))
    one, two = (
        restore(rough_prior(), Problem(o, y), KEY, Conjugate(5))
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
@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
def test_the_fitted_sampler_ends_at_a_noiseless_measurement(operator, spacing):
    problem = Problem(operator, operator.apply(jnp.tanh(jnp.asarray(values(SHAPE)))))
    x = restore(rough_prior(), problem, KEY, Fitted(5, spacing=spacing))
    assert measurement_residual(problem, x) < 1e-4


def test_the_fitted_sampler_guides_what_is_hidden():
    prior, operator = rough_prior(), ops.inpaint(SHAPE, MASK)
    step = step_at(SCHEDULE, 400, 300)
    x_t, y = values(SHAPE, 2), operator.apply(jnp.asarray(values(SHAPE, 1)))
    sampler = Fitted(eta=0.0, guidance=Pseudoinverse())
    x_s, _ = sampler.step(prior, Problem(operator, y), jnp.asarray(x_t), step, KEY)
    j, _ = gaussian_step(step, rough_covariance())
    flat, seen = x_t.ravel().astype(np.float64), MASK.ravel() == 1
    pull = np.where(seen, np.asarray(y).ravel() - j @ flat, 0)
    x0 = np.where(
        seen, np.asarray(y).ravel(), j @ flat + 2 * np.sqrt(step.a_t) * j.T @ pull
    )
    eps = (flat - np.sqrt(step.a_t) * x0) / np.sqrt(step.b_t)
    expected = np.sqrt(step.a_s) * x0 + np.sqrt(step.b_s) * eps
    np.testing.assert_allclose(x_s.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "operator, expected",
    [
        (ops.inpaint(SHAPE, MASK), Calibrated()),
        (ops.quantize(SHAPE, 2), Pseudoinverse()),
    ],
)
def test_the_fitted_sampler_is_calibrated_where_it_can_be(operator, expected):
    problem = Problem(operator, operator.apply(jnp.tanh(jnp.asarray(values(SHAPE)))))
    one, two = (
        restore(rough_prior(), problem, KEY, Fitted(4, guidance=guided))
        for guided in (None, expected)
    )
    np.testing.assert_array_equal(one, two)


def test_the_fitted_sampler_fits_noise_by_its_closed_form():
    prior, problem = rough_prior(), bicubic_problem(0.2)
    step = step_at(SCHEDULE, 400, 300)
    matrix, x_t = dense(problem.operator), values(SHAPE, 2)
    y, flat = np.ravel(problem.y).astype(np.float64), x_t.ravel().astype(np.float64)
    sampler = Fitted(eta=0.0, guidance=Pseudoinverse())
    x_s, _ = sampler.step(prior, problem, jnp.asarray(x_t), step, KEY)
    j, _ = gaussian_step(step, rough_covariance())
    pull = tikhonov(matrix, 0.2**2 / step.b_t) @ (y - matrix @ j @ flat)
    guided = j @ flat + 2 * np.sqrt(step.a_t) * j.T @ pull
    damping = 0.2**2 * step.a_t / (0.02 * step.b_t)
    x0 = guided + tikhonov(matrix, damping) @ (y - matrix @ guided)
    eps = (flat - np.sqrt(step.a_t) * x0) / np.sqrt(step.b_t)
    expected = np.sqrt(step.a_s) * x0 + np.sqrt(step.b_s) * eps
    np.testing.assert_allclose(x_s.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("name", SPACED)
def test_every_sampler_runs_in_a_batch_and_reports_its_steps(name):
    prior, operator = rough_prior(), ops.super_resolution(SHAPE, 2, "bicubic")
    ys = jnp.asarray(values((3, 2, 2, 1)))
    keys = jax.random.split(KEY, 3)
    sampler = SPACED[name](4)

    def run(y, key, **options):
        return restore(prior, Problem(operator, y), key, sampler, trace=True, **options)

    images, traces = jax.vmap(run)(ys, keys)
    alone, trace = run(ys[1], keys[1], on_step=lambda i, info: None)
    np.testing.assert_allclose(images[1], alone, atol=2e-5)
    assert trace.residual.shape == (4,) and jnp.isfinite(trace.guidance_norm).all()
    np.testing.assert_allclose(traces.residual[1], trace.residual, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", SPACED)
def test_one_step_serves_all_numbers_of_steps(name):
    few, many = SPACED[name](4), SPACED[name](7, start=0.5, spacing="quadratic")
    structures = [jax.tree.structure(s.step_alone()) for s in (few, many)]
    assert structures[0] == structures[1] != jax.tree.structure(many)


def test_no_two_samplers_or_guidances_have_the_same_tree():
    values = [kind(4, start=None, spacing="uniform") for kind in SPACED.values()]
    values.append(Relaxed())
    values += [Pseudoinverse(), Reconstruction("adaptive"), Moment(), Calibrated()]
    trees = [jax.tree.structure(value) for value in values]
    same = [
        (one, two)
        for (one, a), (two, b) in itertools.combinations(
            zip(map(str, values), trees, strict=True), 2
        )
        if a == b
    ]
    assert not same


@pytest.mark.parametrize("name", SPACED)
def test_a_sampler_is_what_its_text_says(name):
    sampler = parse(f"{name}:steps=7,start=0.5,spacing=quadratic")
    assert type(sampler) is SPACED[name]
    assert (sampler.steps, sampler.start, sampler.spacing) == (7, 0.5, "quadratic")
    assert str(parse(str(sampler))) == str(sampler)
    assert parse(name, steps=7).evaluations == 7
    assert str(parse(name)) == str(SPACED[name]())


def test_a_guidance_is_a_part_of_a_samplers_text():
    sampler = parse("ddim:eta=0.5,guidance=(moment:products=5,clip=true)")
    assert sampler.eta == 0.5 and sampler.steps == 100
    assert isinstance(sampler.guidance, Moment)
    assert sampler.guidance.products == 5 and sampler.guidance.clip
    assert str(parse(str(sampler))) == str(sampler)
    assert str(parse("ddim:eta=0.5", guidance="moment:products=5,clip=true")) == str(
        sampler
    )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: parse("magic"), "no sampler 'magic'; there are ddim, "),
        (lambda: parse("dps:weight=adaptive"), "sampler dps has parameters"),
        (lambda: parse("ddrm", guidance="moment"), "takes no guidance"),
        (lambda: parse("pnp:eta=0.5"), "sampler pnp has parameters"),
        (lambda: parse("conjugate:eta=1"), "sampler conjugate has parameters"),
        (
            lambda: parse("conjugate:weight=vdm"),
            "must be one of adaptive, posterior",
        ),
        (lambda: parse("conjugate", guidance="moment"), "takes no guidance"),
        (lambda: parse("ddim:steps=5,steps=6"), "steps is given twice"),
        (lambda: parse("ddim:steps=5.5"), "steps must be a whole number"),
        (lambda: parse("ddim:guidance=(moment"), "a parenthesis is missing"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "operator, sampler, noise_std, message",
    [
        (ops.quantize(SHAPE, 2), DPS(), None, "needs the gradient"),
        (ops.quantize(SHAPE, 2), REDDiff(), None, "needs the gradient"),
        (ops.quantize(SHAPE, 2), CCDF(), None, "needs a linear operator"),
        (ops.quantize(SHAPE, 2), Conjugate(), None, "needs a linear operator"),
        (ops.linear(SHAPE, lambda x: x), DDRM(), None, "singular values"),
        (ops.linear(SHAPE, lambda x: x), SNIPS(), None, "singular values"),
        (ops.linear(SHAPE, lambda x: x), Conjugate(), 0.1, "singular values"),
    ],
)
def test_operators_that_a_sampler_cannot_use_are_refused(
    operator, sampler, noise_std, message
):
    y = operator.apply(jnp.zeros(SHAPE))
    with pytest.raises(ValueError, match=message):
        restore(white_prior(), Problem(operator, y, noise_std), KEY, sampler)


def test_a_temperature_takes_noise_from_the_last_steps():
    prior, problem, x_t = rough_prior(), bicubic_problem(), jnp.asarray(values(SHAPE))
    z = jax.random.normal(KEY, SHAPE)
    for t, s in ((900, 700), (100, 60)):
        step = step_at(SCHEDULE, t, s)
        warm, cold = (
            Fitted(eta=0.8, temperature=tau).step(prior, problem, x_t, step, KEY)[0]
            for tau in (1.0, 0.25)
        )
        left_out = 0.75 * step.a_s**6 * 0.8 * jnp.sqrt(step.b_s) * z
        np.testing.assert_allclose(warm - cold, left_out, atol=1e-5)


def test_at_a_low_temperature_samples_are_nearer_to_the_truth():
    """Hidden pixels of a prior whose neighbours agree, over many truths."""
    prior, operator = rough_prior(), ops.inpaint(SHAPE, MASK)
    keys = jax.random.split(KEY, 400)
    truths = jax.vmap(prior.sample)(keys)

    def errors(sampler):
        def one(key, x):
            problem = Problem(operator, operator.apply(x))
            return restore(prior, problem, jax.random.fold_in(key, 1), sampler) - x

        return jnp.mean(jax.vmap(one)(keys, truths) ** 2)

    cold, warm = (errors(Fitted(temperature=tau)) for tau in (0.2, 1.0))
    assert cold < 0.95 * warm
