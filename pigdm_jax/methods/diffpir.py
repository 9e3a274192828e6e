"""DiffPIR: half-quadratic splitting, the measurement's part solved in closed form.

Reference: Zhu, Zhang, Liang, Cao, Wen, Timofte, Van Gool, "Denoising diffusion models
for plug-and-play image restoration", CVPR workshops 2023, algorithm 1. `scale` is its
lambda over 8, which is among the values that it uses; eta^2 is its zeta.
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, evaluate, proximal, stepped
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey

LAMBDA = 8.0


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """The prediction fitted to the measurement, and noise that agrees with it."""
    denoised, residual = evaluate(problem, x_t, step)
    strength = LAMBDA * problem.scale * step.a_t / step.b_t
    fitted = proximal(problem, denoised.x0, strength)
    eps = (x_t - jnp.sqrt(step.a_t) * fitted) / jnp.sqrt(step.b_t)
    z = jax.random.normal(key, x_t.shape)
    noise = problem.eta * z + jnp.sqrt(1 - problem.eta**2) * eps
    x_s = jnp.sqrt(step.a_s) * fitted + jnp.sqrt(step.b_s) * noise
    return stepped(x_s, denoised.x0, residual, fitted)


DIFFPIR = Method(step, eta=0.55)
