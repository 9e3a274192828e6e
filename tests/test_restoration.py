"""What `restore` promises besides its mathematics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import (
    Info,
    Prior,
    Problem,
    Schedule,
    from_denoiser,
    gaussian_prior,
    guidance,
    measure,
    measurement_residual,
    pytree_class,
    restore,
    samplers,
    static_field,
)
from pigdm_jax import operators as ops
from pigdm_jax.guidance import Moment, Pseudoinverse, Reconstruction
from pigdm_jax.samplers import DDIM, Fitted, Multistep, default

SHAPE = (8, 8, 3)
KEY = jax.random.key(0)
UNGUIDED = Pseudoinverse(scale=0.0)


def image(seed=0, shape=SHAPE):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1, maxval=1)


def test_same_key_same_image(smooth_prior):
    problem = measure(ops.super_resolution(SHAPE, 2), image())
    run = [
        restore(smooth_prior, problem, jax.random.key(k), DDIM(5)) for k in (3, 3, 4)
    ]
    np.testing.assert_array_equal(run[0], run[1])
    assert jnp.abs(run[0] - run[2]).max() > 1e-2


def test_without_eta_only_the_start_is_random(smooth_prior):
    problem = Problem(ops.identity(SHAPE), image())
    sampler = DDIM(1, start=0.001, eta=0.0)
    one, two = (
        restore(smooth_prior, problem, jax.random.key(k), sampler, init=problem.y)
        for k in (0, 1)
    )
    # Level 1 adds noise of standard deviation 0.01 to the start, and nothing later.
    assert 1e-6 < jnp.abs(one - two).max() < 0.1


def test_a_batch_by_vmap_equals_a_loop(smooth_prior):
    masks = jnp.stack([ops.random_mask(SHAPE, 0.5, seed) for seed in range(3)])
    images = jnp.stack([image(seed) for seed in range(3)])
    keys = jax.random.split(jax.random.key(0), 3)

    def one(mask, x, key):
        operator = ops.inpaint(SHAPE, mask)
        problem = Problem(operator, operator.apply(x))
        return restore(smooth_prior, problem, key, DDIM(10))

    batch = jax.jit(jax.vmap(one))(masks, images, keys)
    for i in range(3):
        alone = one(masks[i], images[i], keys[i])
        np.testing.assert_allclose(batch[i], alone, atol=2e-5)
    # Neither its neighbours nor its place in the batch matter.
    reverse = jax.jit(jax.vmap(one))(masks[::-1], images[::-1], keys[::-1])
    np.testing.assert_allclose(batch, reverse[::-1], atol=2e-5)


def counting_prior(traces):
    def denoiser(x, t):
        traces.append(1)
        return 0.5 * x

    return from_denoiser(denoiser)


def test_one_compilation_serves_all_that_keep_their_shapes():
    traces = []
    prior = counting_prior(traces)

    def run(seed, noise_std, eta=1.0, **options):
        operator = ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.5, seed))
        problem = Problem(operator, operator.apply(image(seed)), noise_std)
        sampler = DDIM(7, eta=eta, guidance=Pseudoinverse(**options))
        return restore(prior, problem, jax.random.key(seed), sampler)

    run(0, 0.0)
    first = len(traces)
    run(1, 0.2)
    run(2, np.float32(0.1), eta=0.5, scale=2.0, data_variance=jnp.float32(0.5))
    assert len(traces) == first
    assert first <= 2  # scan traces its body at most twice
    run(3, 0.0, weight="posterior")
    assert len(traces) > first
    # Whether there is a noise level at all is a static choice.
    run(0, None)
    exact = len(traces)
    run(1, None, eta=0.5)
    assert len(traces) == exact


def test_the_trace_records_each_step(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    x = jnp.broadcast_to(jnp.linspace(-0.5, 0.5, 8)[:, None], SHAPE)
    problem = measure(operator, x)
    x, trace = restore(smooth_prior, problem, KEY, DDIM(30), trace=True)
    np.testing.assert_array_equal(trace.t[:2], [999, 966])
    columns = (trace.t, trace.residual, trace.x0_norm, trace.guidance_norm)
    assert all(column.shape == (30,) for column in columns)
    assert trace.consistency < 1e-5 and trace.estimate is None
    assert trace.residual[-1] < 0.2 * trace.residual[0]
    alone = restore(smooth_prior, problem, KEY, DDIM(30))
    np.testing.assert_array_equal(x, alone)


@pytest.mark.parametrize("first", [1, 3, 6])
def test_the_trace_finds_the_first_step_that_is_not_finite(first):
    t = Schedule.linear().levels(6)[::-1][first - 1] - 1
    prior = from_denoiser(lambda x, at: jnp.where(at <= t, jnp.nan, 0.5) * x)
    problem = measure(ops.super_resolution(SHAPE, 2), image())

    def found(key):
        return restore(prior, problem, key, DDIM(6), trace=True)[1].first_not_finite

    assert found(KEY) == first
    keys = jax.random.split(KEY, 2)
    np.testing.assert_array_equal(jax.vmap(found)(keys), [first, first])


def test_the_trace_shows_when_the_pseudoinverse_is_poor(smooth_prior):
    def consistency(operator, y=None):
        problem = Problem(operator, operator.apply(image()) if y is None else y)
        return restore(smooth_prior, problem, KEY, DDIM(1), trace=True)[1].consistency

    blur = ops.gaussian_blur(SHAPE, 2.0)
    rounded = ops.chain(blur, ops.quantize(SHAPE, 6))
    assert consistency(ops.quantize(SHAPE, 6)) == 0
    assert consistency(rounded) > 1e-3
    assert consistency(blur, image()) > 0.1  # no image looks like noise when blurred
    kernel = np.outer([1, 2, 4], [4, 2, 1]) + np.eye(3)
    hard = ops.blur(SHAPE, kernel / kernel.sum(), "reflect")
    assert consistency(hard) < 1e-2


def test_progress_changes_nothing():
    seen = []

    def on_step(i, info):
        assert isinstance(info, Info) and info.x0.shape == SHAPE
        seen.append(i)

    prior = counting_prior([])
    problem = Problem(ops.identity(SHAPE), image())
    reported, trace = restore(prior, problem, KEY, DDIM(6), trace=True, on_step=on_step)
    assert seen == [1, 2, 3, 4, 5, 6]
    silent, whole = restore(prior, problem, KEY, DDIM(6), trace=True)
    np.testing.assert_allclose(reported, silent, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), trace, whole)
    with pytest.raises(ValueError, match="on_step is called between steps"):
        jax.vmap(lambda key: restore(prior, problem, key, DDIM(2), on_step=on_step))(
            jax.random.split(jax.random.key(0), 2)
        )


def test_steps_with_progress_are_one_program():
    traces = []
    prior = counting_prior(traces)
    problem = Problem(ops.identity(SHAPE), image())
    restore(prior, problem, KEY, DDIM(6), on_step=lambda i, info: None)
    evaluations = len(traces)
    restore(prior, problem, KEY, DDIM(6), on_step=lambda i, info: None)
    assert len(traces) == evaluations < 6


def test_projection_makes_noiseless_restorations_consistent(smooth_prior):
    for operator in (
        ops.super_resolution(SHAPE, 4, "bicubic"),
        ops.inpaint(SHAPE, ops.center_mask(SHAPE, 4)),
        ops.quantize(SHAPE, 3),
        ops.chain(ops.grayscale(SHAPE), ops.quantize((8, 8, 1), 2)),
    ):
        problem = Problem(operator, operator.apply(image()))
        x = restore(smooth_prior, problem, jax.random.key(0), DDIM(10))
        projected = operator.nearest(x, problem.y)
        assert measurement_residual(problem, projected) < 1e-5
        again = operator.nearest(projected, problem.y)
        np.testing.assert_allclose(again, projected, atol=1e-5)


def test_clipping_bounds_what_the_prior_predicts():
    prior = from_denoiser(lambda x, t: x + 5)
    problem = Problem(ops.identity((4, 4, 1)), jnp.zeros((4, 4, 1)))
    for clip in (False, True):
        sampler = DDIM(3, guidance=Pseudoinverse(scale=0.0, clip=clip))
        _, trace = restore(prior, problem, KEY, sampler, trace=True)
        assert (trace.x0_norm.max() <= 1) == clip


def test_starting_late_stays_near_the_initial_image(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    x = image()
    problem = measure(operator, x)
    for init, expected in (
        (None, operator.pinv(problem.y)),
        ("pinv", operator.pinv(problem.y)),
        ("upsample", jax.image.resize(problem.y, SHAPE, "linear")),
        (x, x),
    ):
        sampler = DDIM(1, start=0.001, guidance=UNGUIDED)
        near = restore(smooth_prior, problem, jax.random.key(0), sampler, init=init)
        assert jnp.abs(near - expected).max() < 0.1


@pytest.mark.parametrize("shape", [(5, 8, 3), (7, 3, 3)])
def test_sizes_that_do_not_suit_the_prior_are_padded(smooth_prior, shape):
    operator = ops.inpaint(shape, ops.random_mask(shape, 0.6))
    y = operator.apply(image(0, shape))
    out = restore(smooth_prior, Problem(operator, y), KEY, DDIM(20))
    assert out.shape == shape
    # The same as restoring, by hand, the corner of the prior's own size.
    whole = ops.chain(ops.crop(SHAPE, *shape[:2]), operator)
    by_hand = restore(smooth_prior, Problem(whole, y), KEY, DDIM(20))
    np.testing.assert_allclose(out, by_hand[: shape[0], : shape[1]], atol=1e-5)


def test_any_size_priors_are_padded_to_their_multiple():
    seen = []

    def denoiser(x, t):
        seen.append(x.shape)
        return 0.9 * x

    prior = from_denoiser(denoiser, multiple=8)
    problem = Problem(ops.identity((9, 17, 3)), jnp.zeros((9, 17, 3)))
    out = restore(prior, problem, jax.random.key(0), DDIM(2))
    assert out.shape == (9, 17, 3) and set(seen) == {(16, 24, 3)}


def test_a_prior_of_the_users_own_needs_a_schedule_and_a_call():
    @pytree_class
    class Mine(Prior):
        scale: jax.Array
        schedule: Schedule = static_field()

        def __call__(self, x_t, t):
            return self.scale * x_t

    prior = Mine(jnp.float32(0.5), Schedule.cosine())
    problem = Problem(ops.identity((5, 7, 1)), jnp.zeros((5, 7, 1)))
    out = restore(prior, problem, KEY, DDIM(3))
    assert out.shape == (5, 7, 1) and jnp.isfinite(out).all()


def test_a_prior_without_a_call_is_refused():
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (Prior,), {})()


def test_the_default_sampler_is_fitted_from_a_late_start(smooth_prior):
    problem = measure(ops.super_resolution(SHAPE, 2), image())
    fitted = Fitted(start=0.4, temperature=0.2)
    one, two = (restore(smooth_prior, problem, KEY, s) for s in (None, fitted))
    np.testing.assert_array_equal(one, two)


def test_samples_and_noisy_measurements_keep_all_of_the_noise(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    exact, noisy = (measure(operator, image(), KEY, noise_std=s) for s in (None, 0.1))
    for problem, aim in ((exact, "detail"), (noisy, None)):
        sampler = default(smooth_prior, problem, aim=aim)
        assert str(sampler) == "fitted:steps=10,start=0.4"
    mean = default(smooth_prior, exact, aim="fidelity")
    assert str(mean.inner) == "fitted:steps=10,start=0.4,temperature=0.2"
    rounded = measure(ops.quantize(SHAPE, 8), image())
    inner = default(smooth_prior, rounded).inner
    assert str(inner) == "fitted:steps=10,start=0.4,temperature=0.75"


def bad(message, problem=None, sampler=lambda: DDIM(3), **options):
    """A case: what `restore` is called with, and what it answers."""
    problem = Problem(ops.identity(SHAPE), jnp.zeros(SHAPE)) if not problem else problem

    def call(prior):
        return restore(prior, problem, jax.random.key(0), sampler(), **options)

    return pytest.param(call, message, id=message)


ROUNDED = Problem(ops.quantize(SHAPE, 2), jnp.zeros(SHAPE))


@pytest.mark.parametrize(
    "call, message",
    [
        bad(
            "the measurement has shape",
            Problem(ops.identity(SHAPE), jnp.zeros((4, 4, 3))),
        ),
        bad("weight must be one of", sampler=lambda: Pseudoinverse(weight="best")),
        bad("no guidance 'dps'", sampler=lambda: guidance.parse("dps")),
        bad("no sampler 'euler'", sampler=lambda: samplers.parse("euler")),
        bad("eta must be from 0 to 1", sampler=lambda: DDIM(eta=1.5)),
        bad("eta must be from 0 to 1", sampler=lambda: Fitted(eta=-0.1)),
        bad("scale must be at least 0", sampler=lambda: Pseudoinverse(scale=-1.0)),
        bad("data_variance must be", sampler=lambda: Pseudoinverse(data_variance=0.0)),
        bad("products must be a whole number", sampler=lambda: Moment(0)),
        bad(
            "noise_std must be a finite number from 0",
            Problem(ops.identity(SHAPE), jnp.zeros(SHAPE), -0.1),
        ),
        bad(
            "noise_std must be None, one number, or",
            Problem(ops.identity(SHAPE), jnp.zeros(SHAPE), np.ones(3)),
        ),
        bad("steps must be a whole number from 1", sampler=lambda: DDIM(0)),
        bad("steps must be from 1 to the starting", sampler=lambda: DDIM(1001)),
        bad("start is a fraction of", sampler=lambda: DDIM(start=1.001)),
        bad("start is a fraction of", sampler=lambda: Multistep(start=0.0)),
        bad("spacing must be one of", sampler=lambda: DDIM(spacing="log")),
        bad(
            "a noise level needs a linear operator",
            Problem(ops.quantize(SHAPE, 2), jnp.zeros(SHAPE), 0.1),
        ),
        bad(
            "the sampler ddim needs a linear operator",
            ROUNDED,
            lambda: DDIM(guidance=Reconstruction()),
        ),
        bad(
            "the sampler fitted needs a linear operator",
            ROUNDED,
            lambda: Fitted(guidance=Moment()),
        ),
        bad("init has shape", init=jnp.zeros((4, 4, 3))),
        bad("init must be 'pinv'", init="noise"),
        bad(
            "measurement that is a picture",
            Problem(ops.grayscale(SHAPE), jnp.zeros((8, 8, 1))),
            init="upsample",
        ),
        bad("images up to", Problem(ops.identity((9, 8, 3)), jnp.zeros((9, 8, 3)))),
    ],
)
def test_a_bad_request_is_answered_in_one_sentence(smooth_prior, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(smooth_prior)
    assert "\n" not in str(caught.value)


def test_a_simulated_measurement_has_the_noise_that_its_problem_says():
    operator, x = ops.super_resolution((64, 64, 1), 2), image(shape=(64, 64, 1))
    exact = measure(operator, x)
    assert exact.noise_std is None and exact.sigma == 0
    np.testing.assert_array_equal(exact.y, operator.apply(x))
    noisy = measure(operator, x, KEY, noise_std=0.3)
    noise = np.asarray(noisy.y - exact.y)
    assert noisy.sigma == np.float32(0.3)
    assert abs(noise.std() / 0.3 - 1) < 5 / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(noise.size)
    again = measure(operator, x, KEY, noise_std=0.3)
    np.testing.assert_array_equal(noisy.y, again.y)


def test_a_measurement_of_several_arrays_has_noise_in_each():
    def differences(x):
        return [jnp.diff(x, axis=0)[:, :-1], jnp.diff(x, axis=1)[:-1]]

    operator = ops.linear((9, 9, 1), differences)
    problem = measure(operator, jnp.zeros((9, 9, 1)), KEY, noise_std=1.0)
    one, two = (leaf.ravel() for leaf in problem.y)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.5 and jnp.std(one) > 0.5


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: measure(ops.identity(SHAPE), image(shape=(4, 4, 3))), "has shape"),
        (lambda: measure(ops.identity(SHAPE), image(), noise_std=0.1), "needs a key"),
        (
            lambda: measure(ops.quantize(SHAPE, 2), image(), KEY, noise_std=0.1),
            "linear operator",
        ),
    ],
)
def test_an_impossible_measurement_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_more_variance_in_the_prior_means_more_trust_in_the_measurement():
    problem = Problem(ops.identity((1, 1, 1)), jnp.ones((1, 1, 1)), 0.5)

    def mean(variance):
        prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), variance))
        keys = jax.random.split(jax.random.key(0), 200)
        run = jax.vmap(lambda key: restore(prior, problem, key, DDIM(50)))
        return run(keys).mean()

    assert mean(0.01) < 0.3 < 0.7 < mean(1.0)
