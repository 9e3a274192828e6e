"""CoarseToFine: its keys, its laws and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import from_denoiser, measure, measurement_residual, restore, samplers
from pigdm_jax import operators as ops
from pigdm_jax.samplers import CoarseToFine, Fitted
from pigdm_jax.samplers.coarse_to_fine import Coarse

PRIOR = from_denoiser(lambda x, t: 0.5 * jnp.tanh(x))
INNER = Fitted(steps=3)


def image(*shape):
    return jax.random.uniform(jax.random.key(7), shape, minval=-1, maxval=1)


def hole(shape):
    return ops.inpaint(shape, ops.center_mask(shape, size=shape[0] // 2))


def test_one_scale_is_the_inner_sampler_with_the_first_key():
    problem = measure(hole((8, 8, 3)), image(8, 8, 3))
    key = jax.random.key(1)
    one, _ = CoarseToFine(INNER, scales=1).sample(PRIOR, problem, key)
    inner, _ = INNER.sample(PRIOR, problem, jax.random.fold_in(key, 0))
    np.testing.assert_array_equal(one, inner)


@pytest.mark.parametrize(
    "make", [hole, lambda s: ops.super_resolution(s, 2), lambda s: ops.jpeg(s, 30)]
)
def test_shape_measurement_and_trace(make):
    operator = make((16, 16, 3))
    problem = measure(operator, image(16, 16, 3))
    sampler = CoarseToFine(INNER, scales=3, ratio=2)
    x, trace = restore(PRIOR, problem, jax.random.key(0), sampler, trace=True)
    assert x.shape == (16, 16, 3) and np.isfinite(x).all()
    assert trace.t.shape == (9,) and sampler.evaluations == 9
    if operator.linear:
        assert measurement_residual(problem, x) < 1e-4


def test_a_coarse_mask_averages_the_known_pixels():
    operator = hole((8, 8, 1))
    x = image(8, 8, 1)
    coarse = Coarse(operator, (2, 2, 1), 4)
    known = np.asarray(operator.mask).reshape(2, 4, 2, 4).sum((1, 3))
    sums = np.asarray(operator.apply(x)).reshape(2, 4, 2, 4).sum((1, 3))
    got = coarse.pinv(operator.apply(x))[..., 0]
    np.testing.assert_allclose(got, sums / known, atol=1e-5)


def test_odd_sizes_and_batches():
    problem = measure(hole((9, 14, 1)), image(9, 14, 1))
    sampler = CoarseToFine(INNER, scales=3, ratio=2)
    keys = jax.random.split(jax.random.key(3), 2)
    both = jax.vmap(lambda k: restore(PRIOR, problem, k, sampler))(keys)
    for key, x in zip(keys, both, strict=True):
        alone = jax.jit(lambda k: restore(PRIOR, problem, k, sampler))(key)
        np.testing.assert_allclose(alone, x, atol=1e-4)


def test_noise_of_the_measurement():
    operator, x, key = hole((16, 16, 1)), image(16, 16, 1), jax.random.key(2)
    level = jnp.full((16, 16, 1), 0.3)
    one = measure(operator, x, key, noise_std=0.3)
    sampler = CoarseToFine(INNER, ratio=4)
    alike = [
        restore(PRIOR, dataclasses.replace(one, noise_std=std), key, sampler)
        for std in (0.3, level)
    ]
    np.testing.assert_allclose(*alike, atol=1e-3)
    assert jnp.abs(operator.apply(alike[0]) - one.y).mean() > 0.02  # it is denoised


def test_refusals_and_text():
    text = "coarse_to_fine:inner=(fitted:steps=5),scales=3,ratio=4,start=0.2"
    assert str(samplers.parse(text)) == text
    with pytest.raises(ValueError, match="cannot start late"):
        CoarseToFine(samplers.Relaxed())
    with pytest.raises(ValueError, match="scales must be"):
        CoarseToFine(scales=0)
    with pytest.raises(ValueError, match="ratio must be"):
        CoarseToFine(ratio=1)
    with pytest.raises(ValueError, match="start is a fraction"):
        CoarseToFine(start=0.0)


class Trained(type(PRIOR)):
    """A prior that was trained on images of 8 x 8 pixels."""

    trained_size = 8


def test_the_default_for_inpainting_beyond_half_of_the_trained_size():
    prior = Trained(**vars(PRIOR))
    for side, kind in ((4, Fitted), (5, CoarseToFine)):
        problem = measure(hole((side, side, 1)), image(side, side, 1))
        assert type(samplers.default(prior, problem)) is kind
        alone = str(samplers.default(PRIOR, problem))
        assert alone == "fitted:steps=10,temperature=0.2"
    assert samplers.default(prior, problem, steps=5).evaluations == 10
    enlarging = measure(ops.super_resolution((16, 16, 1), 2), image(16, 16, 1))
    late = "fitted:steps=10,start=0.4"
    assert str(samplers.default(prior, enlarging)) == f"{late},temperature=0.2"
