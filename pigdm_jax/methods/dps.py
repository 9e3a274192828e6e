"""DPS: the gradient of the residual's norm through network and measurement.

Reference: Chung, Kim, Mccann, Klasky, Ye, "Diffusion posterior sampling for general
noisy inverse problems", ICLR 2023, algorithm 1, with the step size zeta / ||y - h(x0)||
of its section 3.2 (`scale` is zeta).
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, ddim, evaluate
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """An unconditional step, less zeta times the gradient of ||y - h(x0)||."""
    denoised, residual = evaluate(problem, x_t, step)
    measured, transpose = jax.vjp(problem.operator.apply, denoised.x0)
    difference = jax.tree.map(jnp.subtract, problem.y, measured)
    leaves = jax.tree.leaves(difference)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in leaves))
    (pulled,) = transpose(difference)
    gradient = denoised.vjp(pulled) / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny)
    correction = problem.scale * gradient
    z = jax.random.normal(key, x_t.shape)
    x_s = ddim(denoised.x0, denoised.eps, step, z) + correction
    return Stepped(x_s, denoised.x0, residual, correction)


DPS = Method(step, needs="differentiable")
