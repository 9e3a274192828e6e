"""Restores the batch of `test_architectures` on eight emulated devices."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

import pigdm_jax as pj
from pigdm_jax.devices import meshes

SIDE = 8


def problem_of(side, seed=0):
    operator = pj.operators.super_resolution((side, side, 3), 2)
    image = jax.random.uniform(jax.random.key(seed), (side, side, 3), minval=-1)
    return pj.Problem(operator, operator.apply(image), 0.1)


def batch():
    """Two problems and their keys."""
    problems = [problem_of(SIDE, seed) for seed in range(2)]
    return problems, jax.random.split(jax.random.key(1), 2)


def restore_batch(prior, mesh=None):
    problems, keys = batch()
    together = jax.tree.map(lambda *a: jnp.stack(a), *problems)
    return pj.restore_batch(prior, together, keys, sampler(), mesh=mesh)


def sampler():
    return pj.samplers.DDIM(steps=1)


if __name__ == "__main__":
    assert jax.device_count() == 8
    meshes.SMALLEST_SHARDED = 64  # so that weights of small networks are, too
    results, mesh = {}, pj.make_mesh(2)
    for name, folder in json.loads(sys.argv[2]).items():
        prior = pj.place_prior(pj.load_prior(folder), mesh)
        parts = [leaf.addressable_shards[0].data for leaf in jax.tree.leaves(prior)]
        whole = sum(leaf.size for leaf in jax.tree.leaves(prior))
        # A device has half of nearly all weights.
        assert sum(part.size for part in parts) < 0.6 * whole
        results[name] = restore_batch(prior, mesh)
    np.savez(sys.argv[1], **results)
