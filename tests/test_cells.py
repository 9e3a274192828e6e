"""Every sampler with every kind of operator and of noise runs, or is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from dense import dense
from spaced import SPACED

from pigdm_jax import Problem, from_denoiser, gaussian_prior, measure, restore, samplers
from pigdm_jax import operators as ops
from pigdm_jax.core.checks import as_float32
from pigdm_jax.guidance import GUIDANCES, Calibrated, Moment, Pseudoinverse
from pigdm_jax.samplers import (
    DDIM,
    DiffPIR,
    Fitted,
    Multistep,
    PnP,
    Relaxed,
)

SHAPE = (4, 8, 3)
N = int(np.prod(SHAPE))
KEY = jax.random.key(0)
OPERATORS = {
    "known spectrum": ops.super_resolution(SHAPE, 2, "bicubic"),
    "mask": ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.5)),
    "none": ops.motion_blur(SHAPE, 3, 30),
    "chain": ops.chain(ops.motion_blur(SHAPE, 3, 30), ops.super_resolution(SHAPE, 2)),
    "quantising": ops.quantize(SHAPE, 3),
    "jpeg": ops.jpeg(SHAPE, 30),
}
LINEAR = [name for name, operator in OPERATORS.items() if operator.linear]
NOISE = ("exact", "scalar", "per value")
STEPS = 3
FEW_STEPS = [*(kind(steps=STEPS) for kind in SPACED.values()), Relaxed(Fitted(STEPS))]


def image(seed=0):
    return 0.3 * jax.random.normal(jax.random.key(seed), SHAPE)


@pytest.fixture(scope="module")
def prior():
    line = 0.8 ** np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    return gaussian_prior(np.full(SHAPE, 0.1), 0.1 * line)


def problem(name, noise):
    operator = OPERATORS[name]
    y = operator.apply(image())
    level = {
        "exact": None,
        "scalar": 0.1,
        "per value": jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), y),
    }[noise]
    return Problem(operator, y, level)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sampler", FEW_STEPS, ids=lambda sampler: sampler.name)
def test_each_cell_runs_or_is_refused_in_one_sentence(prior, sampler, name, noise):
    case = problem(name, noise)
    try:
        # Traced, not computed: what a sampler cannot do fails in its trace.
        out = jax.eval_shape(lambda key: restore(prior, case, key, sampler), KEY)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 200
        needs = sampler.needs
        operator = case.operator
        assert (
            (noise != "exact" and not operator.linear)
            or (needs.linear and not operator.linear)
            or (needs.relaxed and case.operator.relaxed(case.y) is None)
            or (needs.differentiable and not operator.differentiable)
            or (needs.spectrum and operator.spectrum is None)
            or (needs.noise != "any" and noise == "per value")
            or (needs.noise == "spectrum" and noise != "exact")
        )
        return
    assert out.shape == SHAPE


@pytest.mark.parametrize(
    "sampler, name",
    [
        *((DDIM(STEPS), name) for name in LINEAR),
        *((DiffPIR(STEPS), name) for name in LINEAR),
        (DDIM(STEPS, guidance=Moment(3)), "mask"),
        (Fitted(STEPS), "known spectrum"),
        (Multistep(STEPS), "mask"),
        (PnP(STEPS), "mask"),
    ],
    ids=str,
)
def test_equal_levels_for_all_values_are_one_noise_level(prior, sampler, name):
    one, each = (
        restore(prior, problem(name, noise), KEY, sampler) for noise in NOISE[1:]
    )
    np.testing.assert_allclose(each, one, atol=1e-3)


@pytest.mark.parametrize(
    "sampler, name, noise",
    [
        (DDIM, "mask", "exact"),
        (DDIM, "none", "scalar"),
        (Multistep, "mask", "per value"),
        (Fitted, "mask", "exact"),
        (Fitted, "known spectrum", "scalar"),
        (Fitted, "chain", "scalar"),
        (Fitted, "none", "per value"),
    ],
)
def test_no_sampler_ignores_its_guidance(prior, sampler, name, noise):
    case = problem(name, noise)
    pulls = (Pseudoinverse(), Pseudoinverse(scale=0.5), Calibrated(), Moment(3))
    images = [restore(prior, case, KEY, sampler(STEPS, guidance=g)) for g in pulls]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert jnp.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("guidance", [None, Moment(3)])
def test_denoising_does_not_ignore_its_guidance_either(prior, guidance):
    identity = ops.identity(SHAPE)
    case = measure(identity, image(), KEY, noise_std=0.2)
    one = restore(prior, case, KEY, Fitted(STEPS, guidance=guidance))
    other = restore(prior, case, KEY, Fitted(STEPS, guidance=Pseudoinverse()))
    assert jnp.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("name", LINEAR)
def test_noise_per_value_is_the_dense_formula(name):
    operator = OPERATORS[name]
    y = operator.apply(image())
    rng = np.random.default_rng(3)
    std = rng.uniform(0.05, 1, y.shape).astype(np.float32)
    r2 = 0.4
    matrix = dense(operator)
    system = matrix @ matrix.T + np.diag(std.ravel() ** 2 / r2)
    expected = matrix.T @ np.linalg.solve(system, np.ravel(y))
    found = ops.damped_pinv(operator, y, std, r2)
    np.testing.assert_allclose(np.ravel(found), expected, atol=2e-5)


@pytest.mark.parametrize(
    "operator",
    [
        OPERATORS["mask"],
        ops.identity(SHAPE),
        ops.crop(SHAPE, 2, 3, 1, 1),
        ops.super_resolution(SHAPE, 2),
        ops.grayscale(SHAPE),
        ops.walsh_hadamard(SHAPE, 0.5),
        ops.chain(ops.grayscale(SHAPE), ops.super_resolution((4, 8, 1), 2)),
        ops.chain(
            ops.super_resolution(SHAPE, 2),
            ops.inpaint((2, 4, 3), ops.center_mask((2, 4, 3), 2)),
        ),
    ],
    ids=lambda o: type(o).__name__,
)
def test_gram_is_the_diagonal_of_a_diagonal(operator):
    matrix = dense(operator)
    gram = np.ravel(operator.gram)
    np.testing.assert_allclose(np.diag(gram), matrix @ matrix.T, atol=1e-5)


def test_operators_without_a_diagonal_have_no_gram():
    for name in ("known spectrum", "none", "chain", "quantising", "jpeg"):
        assert OPERATORS[name].gram is None


@pytest.mark.parametrize(
    "operator",
    [
        *(OPERATORS[name] for name in LINEAR),
        ops.identity(SHAPE),
        ops.walsh_hadamard(SHAPE, 0.5),
        ops.fourier(SHAPE, ops.cartesian_mask(SHAPE, 2)),
        ops.blur(SHAPE, np.ones((2, 3)), "circular"),
        ops.linear(SHAPE, lambda x: 2 * x),
    ],
    ids=lambda o: type(o).__name__,
)
def test_an_array_is_no_damping(operator, monkeypatch):
    # These tests check annotations, which refuse it with an error of their own.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    y = operator.apply(image())
    with pytest.raises(ValueError, match="one number, got an array"):
        operator.pinv(y, jnp.full(y.shape, 0.1))


@pytest.mark.parametrize(
    "level, message",
    [
        (np.full((4, 8, 3), 0.1), "for every value of y"),
        (np.zeros((2, 4, 3)), "finite and above 0"),
        (np.full((2, 4, 3), np.nan), "finite and above 0"),
        ([0.1, 0.2], "for every value of y"),
        (-0.1, "from 0 on"),
    ],
)
def test_noise_that_is_none_is_refused(prior, level, message):
    operator = OPERATORS["known spectrum"]
    with pytest.raises(ValueError, match=message):
        restore(prior, Problem(operator, operator.apply(image()), level), KEY)
    with pytest.raises(ValueError, match=message):
        measure(operator, image(), KEY, noise_std=level)


def test_a_measurement_that_is_not_finite_is_refused(prior):
    operator = OPERATORS["mask"]
    y = operator.apply(image()).at[0, 0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="NaN"):
        restore(prior, Problem(operator, y), KEY)


def test_measure_adds_to_every_value_its_own_noise():
    operator = ops.identity((64, 64, 1))
    std = np.full((64, 64, 1), 0.01, np.float32)
    std[:32] = 1
    case = measure(operator, jnp.zeros((64, 64, 1)), KEY, noise_std=std)
    assert case.noise_per_value
    np.testing.assert_allclose(np.std(case.y[:32]), 1, rtol=0.1)
    np.testing.assert_allclose(np.std(case.y[32:]), 0.01, rtol=0.1)


def test_a_noisier_value_is_believed_less(prior):
    operator = ops.identity(SHAPE)
    std = np.full(SHAPE, 0.01, np.float32)
    std[:, 4:] = 100
    case = Problem(operator, jnp.full(SHAPE, 0.7), std)
    restored = restore(prior, case, KEY, Fitted(10))
    np.testing.assert_allclose(restored[:, :3], 0.7, atol=0.1)
    assert jnp.abs(restored[:, 6:] - 0.7).mean() > 0.1


def test_the_default_depends_on_the_problem(prior):
    for name, operator in OPERATORS.items():
        kind = Fitted if operator.linear else Relaxed
        assert isinstance(samplers.default(prior, problem(name, "exact")), kind)
    noisy = measure(ops.identity(SHAPE), image(), KEY, noise_std=0.1)
    assert isinstance(samplers.default(prior, noisy), samplers.Denoiser)
    same = restore(prior, noisy, KEY, samplers.default(prior, noisy))
    np.testing.assert_array_equal(restore(prior, noisy, KEY), same)
    assert samplers.default(prior, noisy, 7).evaluations == 7


@pytest.mark.parametrize("name", ["known spectrum", "none", "quantising"])
def test_an_exact_restoration_measures_y(prior, name):
    case = problem(name, "exact")
    projected, free = (
        restore(prior, case, KEY, sampler) for sampler in (Fitted(3), DDIM(3))
    )
    apply = case.operator.apply
    np.testing.assert_allclose(apply(projected), case.y, atol=1e-5)
    assert jnp.abs(apply(free) - case.y).max() > 1e-4
    # A noise level of 0 is the limit, without projection.
    if case.operator.linear:
        limit = restore(prior, dataclasses.replace(case, noise_std=0.0), KEY, DDIM(3))
        np.testing.assert_allclose(limit, free, atol=1e-4)


def test_a_restoration_that_is_not_finite_stays_so():
    broken = from_denoiser(lambda x, t: jnp.inf * x)
    restored = restore(broken, problem("mask", "exact"), KEY, Fitted(2))
    assert not jnp.isfinite(restored).all()


def gradients(prior, case, sampler):
    """Of a loss in y, noise_std, the operator's leaves, eta and scale."""

    def loss(case, sampler):
        return jnp.sum(restore(prior, case, KEY, sampler) ** 2)

    found = jax.grad(loss, (0, 1), allow_int=True)(
        as_float32(case), as_float32(sampler)
    )
    assert jnp.abs(found[0].y).max() > 0
    return [g for g in jax.tree.leaves(found) if jnp.issubdtype(g.dtype, jnp.inexact)]


GUIDED = [
    cls(steps=2, guidance=guidance())
    for cls in (DDIM, Fitted)
    for guidance in GUIDANCES.values()
]
OTHERS = [cls(steps=2) for cls in SPACED.values() if cls not in (DDIM, Fitted)]


@pytest.mark.parametrize("sampler", [*GUIDED, *OTHERS], ids=str)
def test_gradients_are_finite(prior, sampler):
    noise = "exact" if sampler.needs.noise == "none" else "scalar"
    for leaf in gradients(prior, problem("mask", noise), sampler):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("sampler", [Fitted(2), *OTHERS], ids=str)
def test_gradients_of_an_exact_restoration_are_finite(prior, sampler):
    for leaf in gradients(prior, problem("mask", "exact"), sampler):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("guidance", [None, Moment(3)], ids=str)
def test_gradients_of_conjugate_gradients_are_finite(prior, guidance):
    case = problem("none", "per value")
    for leaf in gradients(prior, case, Fitted(2, guidance=guidance)):
        assert jnp.isfinite(leaf).all()
