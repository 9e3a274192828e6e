"""Restores the batch of `test_parallel` on eight emulated devices."""

import sys

import conftest
import jax
import numpy as np
from test_parallel import batch_of, stacked

from pigdm_jax import make_mesh, place_prior, restore, restore_batch, samplers

if __name__ == "__main__":
    assert jax.device_count() == 8
    prior = conftest.smooth_prior.__wrapped__()
    problems, keys = batch_of(5)
    sampler = samplers.DDIM(steps=7)
    results = {}
    for name, model in (("images over 8", 1), ("images over 4, weights over 2", 2)):
        mesh = make_mesh(model)
        placed = place_prior(prior, mesh)
        if model == 2:
            # Weights of which no device has all.
            whole, part = placed.eigenvectors, placed.eigenvectors.addressable_shards[0]
            assert part.data.size == whole.size // 2
        results[name] = restore_batch(placed, problems, keys, sampler, mesh=mesh)
    own = jax.make_mesh((2, 4), ("a", "b"))
    results["own mesh"] = restore_batch(
        prior, problems, keys, sampler, mesh=own, axis="b"
    )
    with jax.set_mesh(own):
        results["own mesh, set"] = restore_batch(
            prior, problems, keys, sampler, mesh=own
        )
    results["pmap"] = jax.pmap(
        lambda problem, key: restore(prior, problem, key, sampler)
    )(stacked(problems), keys)
    np.savez(sys.argv[1], **results)
