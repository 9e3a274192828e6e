"""Every planted fault still takes hold; running the tests on them all takes minutes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted_faults import FAULTS, planted

from pigdm_jax import Problem, gaussian_prior, restore, samplers
from pigdm_jax import operators as ops

SHAPE = (2, 2, 1)
COVARIANCE = 0.1 * np.eye(4) + 0.6


def restored(text):
    """Three steps, without compiled programs, which would keep the right functions."""
    prior = gaussian_prior(np.full(SHAPE, 0.1), COVARIANCE)
    y = jnp.asarray([[[0.3], [-0.4]]], jnp.float32)
    problem = Problem(ops.super_resolution(SHAPE, 2, "box"), y[:, :1], 0.3)
    with jax.disable_jit():
        return restore(prior, problem, jax.random.key(0), samplers.parse(text))


right = functools.cache(restored)


def test_all_of_them_are_there():
    assert len({fault.name for fault in FAULTS}) == 23


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_takes_hold(fault):
    expected = right(fault.sampler)
    with planted(fault) as places:
        assert places
        wrong = restored(fault.sampler)
    assert jnp.isfinite(wrong).all()
    assert jnp.abs(wrong - expected).max() > 1e-4
    # And is gone again.
    np.testing.assert_array_equal(restored(fault.sampler), expected)
