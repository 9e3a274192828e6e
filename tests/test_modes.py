"""JAX's modes: what users switch on, the package bears."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pigdm_jax as pj
from pigdm_jax import operators as ops
from pigdm_jax.restoration import check_request
from pigdm_jax.samplers import SAMPLERS

S = (8, 8, 1)
KEY = jax.random.key(0)
MODES = {
    "x64": lambda: jax.enable_x64(True),
    "strict": lambda: jax.numpy_dtype_promotion("strict"),
    "nans": lambda: jax.debug_nans(True),
    "no jit": jax.disable_jit,
    "leaks": jax.checking_leaks,
}
OPERATORS = {
    "super_resolution": lambda: ops.super_resolution(S, 2),
    "inpaint": lambda: ops.inpaint(S, ops.freeform_mask(S)),
    "circular": lambda: ops.blur(S, np.eye(3) + 1, "circular"),
    "padded": lambda: ops.blur(S, np.eye(3) + 1, "reflect"),
    "unknown": lambda: ops.uniform_blur(S, 3, "unknown"),
    "fourier": lambda: ops.fourier(S, ops.cartesian_mask(S)),
    "walsh_hadamard": lambda: ops.walsh_hadamard(S, 0.5),
    "linear": lambda: ops.linear(S, lambda x: jnp.diff(x, axis=0)),
    "jpeg": lambda: ops.jpeg(S, 30),
    "camera": lambda: ops.low_dynamic_range(S),
    "chain": lambda: ops.chain(ops.super_resolution(S, 2), ops.quantize((4, 4, 1), 3)),
}


def prior():
    return pj.from_denoiser(lambda x, t: 0.5 * x)


def image(dtype=np.float64):
    return np.linspace(-0.5, 0.5, 64).reshape(S).astype(dtype)


def problems():
    small = ops.super_resolution(S, 2)
    yield pj.measure(small, image(), KEY, noise_std=0.1)
    yield pj.measure(small, image())
    yield pj.measure(ops.jpeg(S, 30), image())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sampler", ["default", "ddim"])
def test_restorations_are_the_same_in_every_mode(mode, sampler):
    def restored(problem):
        own = pj.samplers.DDIM(2)
        if sampler == "default":
            own = pj.samplers.default(prior(), problem, steps=2)
        return pj.restore(prior(), problem, KEY, own)

    def images():
        return [restored(problem) for problem in problems()]

    plain = images()
    with MODES[mode]():
        for one, other in zip(images(), plain, strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one, other, atol=1e-4)


def scores():
    large = np.linspace(-1, 1, 256).reshape(16, 16, 1)
    return [f(large, 0.9 * large) for f in (pj.psnr, pj.ssim)]


@pytest.mark.parametrize("mode", MODES)
def test_metrics_are_the_same_in_every_mode(mode):
    plain = scores()
    with MODES[mode]():
        np.testing.assert_allclose(scores(), plain, rtol=1e-5)


# Types are known without running anything.
@pytest.mark.parametrize("mode", ["x64", "strict"])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_computes_in_float32(mode, name):
    with MODES[mode]():
        operator = OPERATORS[name]()

        def laws(x):
            y = operator.apply(x)
            return y, operator.pinv(y), operator.nearest(x, y)

        for leaf in jax.tree.leaves(jax.eval_shape(laws, image(np.float32))):
            assert leaf.dtype == jnp.float32
        problem = pj.measure(operator, image())
        assert all(y.dtype == jnp.float32 for y in jax.tree.leaves(problem.y))


@pytest.mark.parametrize("mode", ["x64", "strict"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_computes_in_float32(mode, name):
    with MODES[mode]():
        sampler = SAMPLERS[name]()
        restored = 0
        few = {"samples": 2, "scales": 2}
        fields = {k: v for k, v in few.items() if hasattr(sampler, k)}
        sampler = dataclasses.replace(sampler, **fields)
        circular = pj.measure(OPERATORS["circular"](), image(), KEY, noise_std=0.1)
        denoising = pj.measure(ops.identity(S), image(), KEY, noise_std=0.1)
        jpeg = pj.measure(ops.jpeg(S, 30), image())
        for problem in (circular, denoising, jpeg):
            try:
                check_request(prior(), problem, sampler)
            except ValueError:
                continue  # It does not take such problems.
            one = jax.eval_shape(pj.restore, prior(), problem, KEY, sampler)
            assert one.dtype == jnp.float32
            restored += 1
        assert restored


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64, np.int32])
def test_other_types_of_numbers_become_float32(dtype):
    operator = ops.identity(S)
    values = np.random.default_rng(0).integers(-1, 2, S)  # exact in all of them

    def restored(dtype):
        problem = pj.Problem(operator, values.astype(dtype), np.float32(0.5))
        return pj.restore(prior(), problem, KEY, pj.samplers.DDIM(2))

    one = restored(dtype)
    assert one.dtype == jnp.float32
    np.testing.assert_array_equal(one, restored(np.float32))


def test_old_keys_work_and_give_the_same_image():
    problem = next(iter(problems()))
    key = jax.random.key(3)
    for old in (jax.random.PRNGKey(3), np.asarray(jax.random.PRNGKey(3))):
        one = pj.restore(prior(), problem, old, pj.samplers.DDIM(2))
        other = pj.restore(prior(), problem, key, pj.samplers.DDIM(2))
        np.testing.assert_array_equal(one, other)
