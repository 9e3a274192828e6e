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

from pigdm_jax import from_denoiser, make_mesh, restore, restore_batch
from pigdm_jax import operators as ops
from pigdm_jax.parallel import compile_batch

SHAPE = (8, 8, 3)


def problem(count, seed=0):
    """Masks, measurements and keys of a batch."""
    masks = jnp.stack([ops.random_mask(SHAPE, 0.5, seed + i) for i in range(count)])
    operators = [ops.inpaint(SHAPE, mask) for mask in masks]
    images = jax.random.uniform(jax.random.key(9), (count, *SHAPE), minval=-1)
    ys = jnp.stack([op.apply(x) for op, x in zip(operators, images, strict=True)])
    return operators, ys, jax.random.split(jax.random.key(1), count)


def test_a_batch_equals_its_images_alone(smooth_prior):
    operators, ys, keys = problem(3)
    options = {"steps": 7, "eta": 0.5}
    batch = restore_batch(smooth_prior, operators, ys, keys, **options)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)
    again = restore_batch(smooth_prior, stacked, ys, keys, **options)
    np.testing.assert_array_equal(batch, again)
    for i, operator in enumerate(operators):
        alone = restore(smooth_prior, operator, ys[i], keys[i], **options)
        np.testing.assert_allclose(batch[i], alone, atol=2e-5)
    less = restore_batch(smooth_prior, operators[:2], ys[:2], keys[:2], **options)
    np.testing.assert_allclose(batch[:2], less, atol=2e-5)
    back = restore_batch(smooth_prior, operators[::-1], ys[::-1], keys[::-1], **options)
    np.testing.assert_allclose(batch, back[::-1], atol=2e-5)


def test_one_operator_serves_all_and_noise_and_traces_pass_through(smooth_prior):
    operator = ops.super_resolution(SHAPE, 2)
    ys = jnp.stack([jnp.full((4, 4, 3), v) for v in (-0.2, 0.3)])
    keys = jax.random.split(jax.random.key(0), 2)
    images, trace = restore_batch(
        smooth_prior, operator, ys, keys, steps=5, noise_std=0.1, trace=True
    )
    assert images.shape == (2, *SHAPE) and trace.residual.shape == (2, 5)
    quantised = ops.quantize(SHAPE, 3)
    ys = jax.vmap(quantised.apply)(images)
    restore_batch(smooth_prior, quantised, ys, keys, steps=2, noise_std=0.0)


def test_a_program_is_let_go(smooth_prior):
    """A folder of many sizes has one after another; twenty fill a process's memory."""
    operator = ops.super_resolution(SHAPE, 2)

    def programs_after(steps):
        compile_batch(smooth_prior, operator, 1, mesh=make_mesh(), steps=steps)
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
        operators, ys, keys = problem(2, seed)
        restore_batch(prior, operators, ys, keys, steps=3, eta=eta)
        return len(traces)

    assert run(0, 1.0) == run(5, 0.3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"keys": jax.random.split(jax.random.key(0), 3)}, "2 measurements, 3 keys"),
        ({"labels": jnp.zeros(2, int)}, "this one has none"),
        ({"eta": 2.0}, "eta must be from 0 to 1"),
        ({"steps": 0}, "steps must be from 1"),
        ({"operators": [ops.identity(SHAPE), ops.grayscale(SHAPE)]}, "of one kind"),
        ({"operators": [ops.identity(SHAPE)] * 3}, "3 operators"),
    ],
)
def test_a_bad_request_is_answered(smooth_prior, change, message):
    operators, ys, keys = problem(2)
    request = {"operators": operators, "ys": ys, "keys": keys, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        restore_batch(smooth_prior, **request)


def test_pmap_and_vmap_compose_with_restore(smooth_prior):
    operators, ys, keys = problem(1)

    def run(y, key):
        return restore(smooth_prior, operators[0], y, key, steps=3)

    by_pmap = jax.pmap(run)(ys, keys)
    np.testing.assert_allclose(by_pmap, jax.vmap(run)(ys, keys), atol=2e-5)


def test_a_mesh_divides_its_devices():
    with pytest.raises(ValueError, match="must divide the number of devices"):
        make_mesh(model=3)


def test_eight_devices_give_what_one_gives(tmp_path, smooth_prior):
    """Images over 8, and over 4 with the weights over 2."""
    operators, ys, keys = problem(5)
    expected = restore_batch(smooth_prior, operators, ys, keys, steps=7)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    out = tmp_path / "images.npz"
    script = Path(__file__).with_name("on_eight_devices.py")
    subprocess.run([sys.executable, script, out], env=environment, check=True)
    with np.load(out) as images:
        for name in ("images over 8", "images over 4, weights over 2", "pmap"):
            np.testing.assert_allclose(images[name], expected, atol=2e-5, err_msg=name)
