"""CCDF: unconditional steps from a first guess, each followed by a projection.

Reference: Chung, Sim, Ye, "Come-closer-diffuse-faster", CVPR 2022, equations 11 to 13;
without the late start it is ILVR (Choi et al. 2021).
"""

from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import ddim_update, evaluate
from pigdm_jax.samplers.records import Info


@pytree_class
class CCDF(Spaced):
    """Come-closer-diffuse-faster; linear operators.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: begin at this part of the noise levels, from the pseudoinverse.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: 0 (deterministic) to 1, how much of a step's noise is fresh.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=0.2)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0

    needs = Needs(linear=True, noise="scalar")

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Put H^+ y_s in the place of H^+ H x', y_s as noisy as x'."""
        denoised, residual = evaluate(prior, problem, state, step)
        x_s = ddim_update(denoised.x0, denoised.eps, step, self.eta, key)
        noise = jax.random.normal(jax.random.fold_in(key, 1), state.shape)
        operator = problem.operator
        known = jnp.sqrt(step.a_s) * operator.pinv(problem.y)
        seen = operator.pinv(operator.apply(jnp.sqrt(step.b_s) * noise - x_s))
        return x_s + known + seen, Info(denoised.x0, residual, known + seen)
