"""CCDF: unconditional steps from a first guess, each followed by a projection.

Reference: Chung, Sim, Ye, "Come-closer-diffuse-faster", CVPR 2022, equations 11 to 13;
without the late start it is ILVR (Choi et al. 2021).
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, ddim, evaluate
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """Put H^+ y_s in the place of H^+ H x', y_s measured at the noise level of x'."""
    denoised, residual = evaluate(problem, x_t, step)
    fresh, noise = (
        jax.random.normal(k, x_t.shape) for k in (key, jax.random.fold_in(key, 1))
    )
    x_s = ddim(denoised.x0, denoised.eps, step, fresh)
    operator = problem.operator
    known = jnp.sqrt(step.a_s) * operator.pinv(problem.y)
    seen = operator.pinv(operator.apply(jnp.sqrt(step.b_s) * noise - x_s))
    return Stepped(x_s + known + seen, denoised.x0, residual, known + seen)


CCDF = Method(step, needs="linear", start=0.2)
