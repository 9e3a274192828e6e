"""Restores the batch of `test_parallel` on eight emulated devices."""

import sys

import conftest
import jax
import jax.numpy as jnp
import numpy as np
from test_parallel import problem

from pigdm_jax import make_mesh, place_prior, restore, restore_batch

if __name__ == "__main__":
    assert jax.device_count() == 8
    prior = conftest.smooth_prior.__wrapped__()
    operators, ys, keys = problem(5)
    results = {}
    for name, model in (("images over 8", 1), ("images over 4, weights over 2", 2)):
        mesh = make_mesh(model)
        placed = place_prior(prior, mesh)
        if model == 2:
            # Weights of which no device has all.
            whole, part = placed.eigenvectors, placed.eigenvectors.addressable_shards[0]
            assert part.data.size == whole.size // 2
        results[name] = restore_batch(placed, operators, ys, keys, mesh=mesh, steps=7)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)
    results["pmap"] = jax.pmap(
        lambda operator, y, key: restore(prior, operator, y, key, steps=7)
    )(stacked, ys, keys)
    np.savez(sys.argv[1], **results)
