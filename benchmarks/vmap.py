"""`restore` by itself beside the ways in which users wrap it, on one 64 x 64 image.

    python benchmarks/vmap.py --rounds 9

Prints milliseconds a step: the median of the rounds and their least, since a machine
whose idle cores wake slowly has rounds of two kinds. The ways alternate in a round.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import pigdm_jax as pj

SHAPE = (64, 64, 3)


def main() -> None:
    """Time each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    flags = parser.parse_args()
    prior, sampler = pj.load_prior(flags.prior), pj.samplers.DDIM(flags.steps)
    x = jax.random.uniform(jax.random.key(0), SHAPE, minval=-1)
    problem = pj.measure(pj.operators.super_resolution(SHAPE, 4), x)
    key = jax.random.key(1)
    problems = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], problem)

    def restore(prior: pj.Prior, problem: pj.Problem, key: jax.Array) -> jax.Array:
        return pj.restore(prior, problem, key, sampler)

    mapped = jax.vmap(restore, in_axes=(None, 0, 0))
    options = pj.compiler_options()
    under_jit = jax.jit(restore, compiler_options=options)
    under_both = jax.jit(mapped, compiler_options=options)
    closed_over = jax.jit(lambda p, k: mapped(prior, p, k), compiler_options=options)
    ways = {
        "restore": lambda: restore(prior, problem, key),
        "jit": lambda: under_jit(prior, problem, key),
        "jit of vmap": lambda: under_both(prior, problems, key[None]),
        "jit of vmap, prior closed over": lambda: closed_over(problems, key[None]),
        "restore_batch": lambda: pj.restore_batch(
            prior, problems, key[None], sampler, mesh=pj.make_mesh(1, jax.devices()[:1])
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        jax.block_until_ready(way())
    for _ in range(flags.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(way())
            seconds[name].append((time.perf_counter() - start) / flags.steps)
    base = np.median(seconds["restore"])
    for name, values in seconds.items():
        median, least = 1e3 * np.median(values), 1e3 * min(values)
        print(
            f"{name:32} {median:6.1f} ms a step, least {least:6.1f}, "
            f"over restore {np.median(values) / base:.2f}"
        )


if __name__ == "__main__":
    main()
