"""Batches over devices; eight emulated ones in a process of their own."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import (
    Problem,
    from_denoiser,
    make_mesh,
    restore,
    restore_batch,
    samplers,
)
from pigdm_jax import operators as ops
from pigdm_jax.devices.programs import blank_problem, compile_batch

SHAPE = (8, 8, 3)


def batch_of(count, seed=0, noise_stds=None):
    """Problems with masks of their own, and keys."""
    images = jax.random.uniform(jax.random.key(9), (count, *SHAPE), minval=-1)
    masks = [ops.random_mask(SHAPE, 0.5, seed + i) for i in range(count)]
    operators = [ops.inpaint(SHAPE, mask) for mask in masks]
    problems = [
        Problem(operator, operator.apply(x), noise_std)
        for operator, x, noise_std in zip(
            operators, images, noise_stds or [None] * count, strict=True
        )
    ]
    return problems, jax.random.split(jax.random.key(1), count)


def stacked(problems):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)


def check_alone(prior, batch, problems, keys, sampler):
    """Each image of a batch is what it is by itself."""
    for image, problem, key in zip(batch, problems, keys, strict=True):
        alone = restore(prior, problem, key, sampler)
        np.testing.assert_allclose(image, alone, atol=2e-5)


def test_a_batch_equals_its_images_alone(smooth_prior):
    problems, keys = batch_of(3)
    sampler = samplers.DDIM(steps=7, eta=0.5)
    batch = restore_batch(smooth_prior, problems, keys, sampler)
    again = restore_batch(smooth_prior, stacked(problems), keys, sampler)
    np.testing.assert_array_equal(batch, again)
    check_alone(smooth_prior, batch, problems, keys, sampler)
    less = restore_batch(smooth_prior, problems[:2], keys[:2], sampler)
    np.testing.assert_allclose(batch[:2], less, atol=2e-5)
    back = restore_batch(smooth_prior, problems[::-1], keys[::-1], sampler)
    np.testing.assert_allclose(batch, back[::-1], atol=2e-5)


def test_one_operator_serves_all_and_noise_and_traces_pass_through(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    ys = jnp.stack([jnp.full((4, 4, 3), v) for v in (-0.2, 0.3)])
    keys = jax.random.split(jax.random.key(0), 2)
    images, trace = restore_batch(
        smooth_prior,
        Problem(operator, ys, 0.1),
        keys,
        samplers.DDIM(steps=5),
        shared_operator=True,
        trace=True,
    )
    assert images.shape == (2, *SHAPE) and trace.residual.shape == (2, 5)
    assert trace.consistency.shape == (2,)
    quantised = ops.quantize(SHAPE, 3)
    problems = Problem(quantised, jax.vmap(quantised.apply)(images), 0.0)
    restore_batch(
        smooth_prior, problems, keys, samplers.DDIM(steps=2), shared_operator=True
    )


def test_noise_levels_may_differ_from_image_to_image(smooth_prior):
    problems, keys = batch_of(2, noise_stds=[0.05, 0.4])
    sampler = samplers.DDIM(steps=4)
    batch = restore_batch(smooth_prior, problems, keys, sampler)
    check_alone(smooth_prior, batch, problems, keys, sampler)


def test_initial_images_are_one_for_each(smooth_prior):
    problems, keys = batch_of(2)
    init = jax.random.uniform(jax.random.key(2), (2, *SHAPE), minval=-1)
    sampler = samplers.DDIM(steps=4, start=0.2)
    batch = restore_batch(smooth_prior, problems, keys, sampler, init=init)
    for i, problem in enumerate(problems):
        alone = restore(smooth_prior, problem, keys[i], sampler, init=init[i])
        np.testing.assert_allclose(batch[i], alone, atol=2e-5)
    from_pinv = restore_batch(smooth_prior, problems, keys, sampler, init="pinv")
    assert np.abs(from_pinv - batch).max() > 1e-2


@pytest.mark.parametrize("kind", ["Explicit", "Auto"])
def test_any_mesh_will_do(smooth_prior, kind):
    """A default `jax.make_mesh` has Explicit axes, which the user may have set."""
    problems, keys = batch_of(2)
    types = (jax.sharding.AxisType[kind],) * 2
    mesh = jax.make_mesh((1, 1), ("rows", "images"), axis_types=types)
    sampler = samplers.DDIM(steps=4)
    expected = restore_batch(smooth_prior, problems, keys, sampler)
    one = restore_batch(smooth_prior, problems, keys, sampler, mesh=mesh, axis="images")
    np.testing.assert_allclose(one, expected, atol=2e-5)
    with jax.set_mesh(mesh):
        two = restore_batch(smooth_prior, problems, keys, sampler, mesh=mesh)
    np.testing.assert_allclose(two, expected, atol=2e-5)
    with pytest.raises(ValueError, match="axes rows, images, not 'batch'"):
        restore_batch(smooth_prior, problems, keys, sampler, mesh=mesh, axis="batch")


def test_a_program_is_let_go(smooth_prior):
    """A folder of many sizes has one after another; twenty fill a process's memory."""
    operator = ops.super_resolution(SHAPE, 2)

    def programs_after(steps):
        problem, sampler = blank_problem(operator), samplers.DDIM(steps)
        compile_batch(smooth_prior, problem, 1, sampler, mesh=make_mesh())
        gc.collect()
        return len(jax.devices()[0].client.live_executables())

    assert programs_after(2) == programs_after(3) == programs_after(4)


def test_a_second_batch_is_not_traced_again():
    traces = []

    def denoiser(x, t):
        traces.append(1)
        return 0.5 * x

    prior = from_denoiser(denoiser)

    def run(seed, eta):
        problems, keys = batch_of(2, seed)
        restore_batch(prior, problems, keys, samplers.DDIM(steps=3, eta=eta))
        return len(traces)

    assert run(0, 1.0) == run(5, 0.3) == run(6, np.float32(0.2)) == run(7, 1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keys": jax.random.split(jax.random.key(0), 3)}, "3 keys, 2 measurements"),
        ({"conditions": {"label": jnp.zeros(2, int)}}, "takes no class label"),
        ({"conditions": {"label": jnp.zeros(3, int)}}, "3 label"),
        (
            {
                "problems": [
                    Problem(ops.identity(SHAPE), jnp.zeros(SHAPE)),
                    Problem(ops.grayscale(SHAPE), jnp.zeros((8, 8, 1))),
                ]
            },
            "of one kind",
        ),
        ({"problems": batch_of(3)[0]}, "3 measurements, 3 operators"),
        ({"problems": []}, "one problem at least"),
        (
            {"problems": Problem(batch_of(1)[0][0].operator, jnp.zeros((2, *SHAPE)))},
            "shared_operator=True",
        ),
    ],
)
def test_a_bad_request_is_answered(smooth_prior, change, message):
    problems, keys = batch_of(2)
    sampler = samplers.DDIM(steps=2)
    request = {"problems": problems, "keys": keys, "sampler": sampler} | change
    with pytest.raises(ValueError, match=message):
        restore_batch(smooth_prior, **request)


def test_pmap_and_vmap_compose_with_restore(smooth_prior):
    problems, keys = batch_of(1)

    def run(problem, key):
        return restore(smooth_prior, problem, key, samplers.DDIM(steps=3))

    by_pmap = jax.pmap(run)(stacked(problems), keys)
    by_vmap = jax.vmap(run)(stacked(problems), keys)
    np.testing.assert_allclose(by_pmap, by_vmap, atol=2e-5)


def test_a_mesh_divides_its_devices():
    with pytest.raises(ValueError, match="must divide the number of devices"):
        make_mesh(model=3)


def test_eight_devices_give_what_one_gives(tmp_path, smooth_prior):
    """Images over 8, and over 4 with the weights over 2."""
    problems, keys = batch_of(5)
    expected = restore_batch(smooth_prior, problems, keys, samplers.DDIM(steps=7))
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    out = tmp_path / "images.npz"
    script = Path(__file__).with_name("on_eight_devices.py")
    subprocess.run([sys.executable, script, out], env=environment, check=True)
    with np.load(out) as images:
        for name in images.files:
            np.testing.assert_allclose(images[name], expected, atol=2e-5, err_msg=name)
