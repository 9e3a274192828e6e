"""What `restore` promises besides its mathematics."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import (
    Schedule,
    from_denoiser,
    gaussian_prior,
    measurement_residual,
    project,
    restore,
)
from pigdm_jax import operators as ops

SHAPE = (8, 8, 3)
KEY = jax.random.key(0)


def image(seed=0, shape=SHAPE):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1, maxval=1)


def test_same_key_same_image(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    y = operator.apply(image())
    run = [
        restore(smooth_prior, operator, y, jax.random.key(k), steps=5)
        for k in (3, 3, 4)
    ]
    np.testing.assert_array_equal(run[0], run[1])
    assert jnp.abs(run[0] - run[2]).max() > 1e-2


def test_without_eta_only_the_start_is_random(smooth_prior):
    operator = ops.identity(SHAPE)
    y = image()
    options = {"steps": 5, "start": 1, "init": y}
    tables = [
        restore(smooth_prior, operator, y, jax.random.key(k), **options | {"steps": 1})
        for k in (0, 1)
    ]
    # Level 1 adds noise of standard deviation 0.01 to the start, and nothing later.
    assert 1e-6 < jnp.abs(tables[0] - tables[1]).max() < 0.1


def test_a_batch_by_vmap_equals_a_loop(smooth_prior):
    masks = jnp.stack([ops.random_mask(SHAPE, 0.5, seed) for seed in range(3)])
    images = jnp.stack([image(seed) for seed in range(3)])
    keys = jax.random.split(jax.random.key(0), 3)

    def one(mask, x, key):
        operator = ops.inpaint(SHAPE, mask)
        return restore(smooth_prior, operator, operator.apply(x), key, steps=10)

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

    def run(seed, **options):
        operator = ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.5, seed))
        y = operator.apply(image(seed))
        return restore(prior, operator, y, jax.random.key(seed), steps=7, **options)

    run(0)
    first = len(traces)
    run(1)
    run(2, eta=0.5, noise_std=0.1, scale=2.0, data_variance=0.5)
    assert len(traces) == first
    assert first <= 2  # scan traces its body at most twice
    run(3, weight="posterior")
    assert len(traces) > first


def test_the_trace_tells_each_step(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    y = operator.apply(jnp.broadcast_to(jnp.linspace(-0.5, 0.5, 8)[:, None], SHAPE))
    x, trace = restore(
        smooth_prior, operator, y, jax.random.key(0), steps=30, trace=True
    )
    np.testing.assert_array_equal(trace.t[:2], [999, 966])
    assert all(leaf.shape == (30,) for leaf in trace[:-1])
    assert trace.consistency < 1e-5
    assert trace.residual[-1] < 0.2 * trace.residual[0]
    alone = restore(smooth_prior, operator, y, jax.random.key(0), steps=30)
    np.testing.assert_array_equal(x, alone)


def test_the_trace_tells_when_the_pseudoinverse_is_poor(smooth_prior):
    def consistency(operator, y=None):
        y = operator.apply(image()) if y is None else y
        return restore(smooth_prior, operator, y, KEY, steps=1, trace=True)[
            1
        ].consistency

    blur = ops.gaussian_blur(SHAPE, 2.0)
    rounded = ops.chain(blur, ops.quantize(SHAPE, 6))
    assert consistency(ops.quantize(SHAPE, 6)) == 0
    assert consistency(rounded) > 1e-3
    assert consistency(blur, image()) > 0.1  # no image looks like noise when blurred
    kernel = np.outer([1, 2, 4], [4, 2, 1]) + np.eye(3)
    hard = ops.blur(SHAPE, kernel / kernel.sum(), "reflect")
    assert consistency(hard) < 1e-2


def test_progress_changes_nothing_and_compiles_once_for_any_number_of_steps():
    traced, seen = [], []

    def denoiser(x, t):
        traced.append(1)
        return 0.5 * x

    prior = from_denoiser(denoiser)
    request = (prior, ops.identity(SHAPE), image(), jax.random.key(0))
    told, trace = restore(*request, steps=6, trace=True, on_step=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    evaluations = len(traced)
    restore(*request, steps=3, on_step=seen.append)
    assert len(traced) == evaluations
    silent, whole = restore(*request, steps=6, trace=True)
    np.testing.assert_allclose(told, silent, atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), trace, whole)
    with pytest.raises(ValueError, match="on_step is called between steps"):
        jax.vmap(lambda key: restore(*request[:3], key, steps=2, on_step=print))(
            jax.random.split(jax.random.key(0), 2)
        )


def test_projection_makes_noiseless_restorations_consistent(smooth_prior):
    for operator in (
        ops.super_resolution(SHAPE, 4, "bicubic"),
        ops.inpaint(SHAPE, ops.center_mask(SHAPE, 4)),
        ops.quantize(SHAPE, 3),
        ops.chain(ops.grayscale(SHAPE), ops.quantize((8, 8, 1), 2)),
    ):
        y = operator.apply(image())
        x = restore(smooth_prior, operator, y, jax.random.key(0), steps=10)
        projected = project(operator, y, x)
        assert measurement_residual(operator, y, projected) < 1e-5
        again = project(operator, y, projected)
        np.testing.assert_allclose(again, projected, atol=1e-5)


def test_reconstruction_guidance_pulls_by_the_transpose(smooth_prior):
    # Pool's transpose is its pseudoinverse over factor^2.
    operator = ops.super_resolution(SHAPE, 2)
    y = operator.apply(image())
    key = jax.random.key(0)
    transpose, pinv = (
        restore(smooth_prior, operator, y, key, steps=9, guidance=rule, scale=scale)
        for rule, scale in (("reconstruction", 4.0), ("pseudoinverse", 1.0))
    )
    np.testing.assert_allclose(transpose, pinv, atol=1e-4)


def test_clipping_bounds_what_the_prior_predicts():
    prior = from_denoiser(lambda x, t: x + 5)
    operator, y = ops.identity((4, 4, 1)), jnp.zeros((4, 4, 1))
    key = jax.random.key(0)
    for clip in (False, True):
        _, trace = restore(
            prior, operator, y, key, steps=3, clip=clip, trace=True, scale=0.0
        )
        assert (trace.x0_norm.max() <= 1) == clip


def test_starting_late_stays_near_the_initial_image(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    x = image()
    y = operator.apply(x)
    for init, expected in (
        ("pinv", operator.pinv(y)),
        ("upsample", jax.image.resize(y, SHAPE, "linear")),
        (x, x),
    ):
        near = restore(
            smooth_prior,
            operator,
            y,
            jax.random.key(0),
            steps=1,
            start=1,
            init=init,
            scale=0.0,
        )
        assert jnp.abs(near - expected).max() < 0.1


@pytest.mark.parametrize("shape", [(5, 8, 3), (7, 3, 3)])
def test_sizes_that_do_not_suit_the_prior_are_padded(smooth_prior, shape):
    operator = ops.inpaint(shape, ops.random_mask(shape, 0.6))
    x = image(0, shape)
    y = operator.apply(x)
    out = restore(smooth_prior, operator, y, jax.random.key(0), steps=20)
    assert out.shape == shape
    # The same as restoring, by hand, the corner of the prior's own size.
    whole = ops.chain(ops.crop(SHAPE, *shape[:2]), operator)
    by_hand = restore(smooth_prior, whole, y, jax.random.key(0), steps=20)
    np.testing.assert_allclose(out, by_hand[: shape[0], : shape[1]], atol=1e-5)


def test_any_size_priors_are_padded_to_their_multiple():
    seen = []

    def denoiser(x, t):
        seen.append(x.shape)
        return 0.9 * x

    prior = from_denoiser(denoiser, multiple=8)
    operator = ops.identity((9, 17, 3))
    y = jnp.zeros((9, 17, 3))
    out = restore(prior, operator, y, jax.random.key(0), steps=2)
    assert out.shape == (9, 17, 3) and set(seen) == {(16, 24, 3)}


def test_a_prior_of_the_users_own_needs_no_more_than_the_protocol():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Mine:
        scale: jax.Array
        schedule: Schedule = dataclasses.field(metadata={"static": True})
        image_shape: tuple | None = dataclasses.field(metadata={"static": True})

        def __call__(self, x_t, t):
            return self.scale * x_t

    prior = Mine(jnp.float32(0.5), Schedule.cosine(), None)
    out = restore(prior, ops.identity((5, 7, 1)), jnp.zeros((5, 7, 1)), KEY, steps=3)
    assert out.shape == (5, 7, 1) and jnp.isfinite(out).all()


def bad(message, **options):
    def call(prior):
        operator = options.pop("operator", ops.identity(SHAPE))
        y = options.pop("y", jnp.zeros(SHAPE))
        return restore(prior, operator, y, jax.random.key(0), **options)

    return pytest.param(call, message, id=message)


@pytest.mark.parametrize(
    "call, message",
    [
        bad("the measurement has shape", y=jnp.zeros((4, 4, 3))),
        bad("weight is one of", weight="best"),
        bad("guidance is one of", guidance="dps"),
        bad("sampler is one of", sampler="euler"),
        bad("eta must be from 0 to 1", eta=1.5),
        bad("noise_std must be at least 0", noise_std=-0.1),
        bad("steps must be from 1", steps=0),
        bad("start must be a noise level", start=1001),
        bad("needs a linear operator", operator=ops.quantize(SHAPE, 2), noise_std=0.1),
        bad(
            "reconstruction guidance needs",
            operator=ops.quantize(SHAPE, 2),
            guidance="reconstruction",
        ),
        bad(
            "moment guidance needs",
            operator=ops.quantize(SHAPE, 2),
            guidance="moment",
        ),
        bad("init has shape", init=jnp.zeros((4, 4, 3))),
        bad("init is 'pinv'", init="noise"),
        bad(
            "measurement that is a picture",
            operator=ops.grayscale(SHAPE),
            y=jnp.zeros((8, 8, 1)),
            init="upsample",
        ),
        bad(
            "images up to",
            operator=ops.identity((9, 8, 3)),
            y=jnp.zeros((9, 8, 3)),
        ),
    ],
)
def test_a_bad_request_is_answered_in_one_sentence(smooth_prior, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(smooth_prior)
    assert "\n" not in str(caught.value)


def test_more_variance_in_the_prior_means_more_trust_in_the_measurement():
    y = jnp.ones((1, 1, 1))
    operator = ops.identity((1, 1, 1))

    def mean(variance):
        prior = gaussian_prior(np.zeros((1, 1, 1)), np.full((1, 1), variance))
        keys = jax.random.split(jax.random.key(0), 200)
        return jax.vmap(
            lambda key: restore(prior, operator, y, key, steps=50, noise_std=0.5)
        )(keys).mean()

    assert mean(0.01) < 0.3 < 0.7 < mean(1.0)
