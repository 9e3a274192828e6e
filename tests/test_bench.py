"""`pigdm bench`, and how programs are compiled."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import from_denoiser
from pigdm_jax.cli.main import bench
from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.devices.timing import matrix_ceiling, step_flops, time_steps
from pigdm_jax.networks.kernels.convolution import convolve


def test_flops_are_those_of_plain_convolutions():
    """One forward and one backward convolution, whichever algorithm the CPU uses."""
    side, widths = 64, [3, 64, 64, 3]
    kernels = [
        jnp.ones((3, 3, inner, outer)) for inner, outer in itertools.pairwise(widths)
    ]

    def denoise(x, t):
        x = x[None]
        for kernel in kernels:
            x = convolve(x, kernel)
        return x[0]

    flops = step_flops(from_denoiser(denoise), (side, side, 3))
    products = sum(i * o for i, o in itertools.pairwise(widths))
    # At the border some taps fall outside.
    assert flops == pytest.approx(2 * 2 * 9 * side**2 * products, rel=0.06)


def test_a_batch_is_timed(smooth_prior):
    speed = time_steps(smooth_prior, side=8, batch=2, steps=3, rounds=2)
    assert min(speed) > 0 and speed.flops == 2 * step_flops(smooth_prior, (8, 8, 3))
    assert matrix_ceiling() > 1e8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch": 0}, "--batch must be a whole number from 1 to 1000, got 0"),
        ({"steps": -1}, "--steps must be a whole number from 1 to 1000"),
        ({"size": 30}, "--size must be a multiple of 4 from 4 to 65536, got 30"),
    ],
)
def test_flags_are_checked_first(flags, message):
    with pytest.raises(ValueError, match=message):
        bench(**flags)


def test_tuned_programs_are_functions_like_any_other():
    traces = []

    def square(x):
        traces.append(x.shape)
        return (x**2).sum()

    tuned = tuned_jit(square)
    x = jnp.arange(3.0)
    assert tuned(x) == tuned(x + 0) == 5.0 and len(traces) == 1
    np.testing.assert_array_equal(jax.grad(tuned)(x), 2 * x)
    np.testing.assert_array_equal(jax.vmap(tuned)(jnp.stack([x, 2 * x])), [5, 20])
    assert jax.jit(lambda x: tuned(x) + 1)(x) == 6.0
