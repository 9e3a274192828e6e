"""The time of a guided step on this machine, beside that of a matrix product."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pigdm_jax.devices.meshes import make_mesh
from pigdm_jax.devices.programs import blank_problem, compile_batch
from pigdm_jax.operators import super_resolution
from pigdm_jax.priors.base import Prior
from pigdm_jax.samplers import DDIM

CEILING_SIDE = 4096


class Speed(NamedTuple):
    """Time and memory of a batch.

    Attributes:
      compile_seconds: to compile the sampler.
      step_seconds: for an evaluation of the network with its vector-Jacobian product
        and everything around it, for the whole batch; a median.
      device_bytes: memory on each device, by XLA's own analysis.
      flops: of such a step, as XLA counts them, with plain convolutions.
    """

    compile_seconds: float
    step_seconds: float
    device_bytes: int
    flops: float


def time_steps(prior: Prior, side: int, batch: int, steps: int, rounds: int) -> Speed:
    """Restore random measurements of 4x box super-resolution.

    Args:
      prior: the diffusion model.
      side: of the images, which are square.
      batch: how many at once.
      steps: evaluations in each round.
      rounds: how often, after one to warm up.
    """
    shape = (side, side, 3)
    operator = super_resolution(shape, 4, "box")
    start = time.perf_counter()
    problem, sampler = blank_problem(operator), DDIM(steps)
    program = compile_batch(prior, problem, batch, sampler, mesh=even_mesh(batch))
    compile_seconds = time.perf_counter() - start
    keys = jax.random.split(jax.random.key(0), batch)
    images = jax.random.uniform(jax.random.key(1), (batch, *shape), minval=-1)
    ys = np.asarray(jax.vmap(operator.apply)(images))
    seconds = _seconds(lambda: program(None, ys, keys), rounds)
    return Speed(
        compile_seconds,
        float(np.median(seconds)) / steps,
        program.device_bytes,
        batch * step_flops(prior, shape),
    )


def even_mesh(batch: int) -> Mesh:
    """A mesh of as many of this process's devices as divide the batch."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch % n == 0)
    return make_mesh(devices=devices[:count])


def step_flops(prior: Prior, shape: tuple[int, int, int]) -> float:
    """FLOPs of an evaluation with its vector-Jacobian product, as XLA counts them.

    Counted before the program is made faster, so that every implementation's are equal.
    """

    def step(prior: Prior, x: jax.Array) -> jax.Array:
        out, vjp = jax.vjp(lambda x: prior(x, 1.0), x)
        return vjp(out)[0]

    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    # Platforms other than CPUs have plain convolutions.
    lowered = jax.jit(step).trace(prior, image).lower(lowering_platforms=("cuda",))
    return lowered.cost_analysis()["flops"]


def matrix_ceiling(dtype: Any = jnp.float32) -> float:
    """FLOP/s of a large matrix product."""
    a = jnp.ones((CEILING_SIDE, CEILING_SIDE), dtype)
    product = jax.jit(lambda a: a @ a)
    return 2 * CEILING_SIDE**3 / min(_seconds(lambda: product(a), 5))


def _seconds(run: Callable[[], Any], rounds: int) -> list[float]:
    """The time of each call but the first."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return seconds[1:]
