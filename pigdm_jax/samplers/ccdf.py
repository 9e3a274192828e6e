"""CCDF: unconditional steps from an initial image, each followed by a projection."""

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

    Each step makes an unconditional DDIM step x' and replaces its component in the
    operator's row space by that of a noisy measurement,

        x_s = x' + H+ (sqrt(a_s) y - H x' + sqrt(1 - a_s) H z),

    with fresh noise z. It starts late, from the pseudoinverse with noise added. Started
    from pure noise it is ILVR (Choi et al. 2021).

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1], from the
        pseudoinverse; None starts from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (none) to 1 (as much as DDPM).

    Reference: Chung, Sim, Ye, "Come-closer-diffuse-faster", CVPR 2022, equations 11 to
    13.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.CCDF(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=0.2)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0

    needs = Needs(linear=True, noise="scalar")

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """A DDIM step, then the noisy measurement in the operator's row space."""
        denoised, residual = evaluate(prior, problem, state, step)
        x_s = ddim_update(denoised.x0, denoised.eps, step, self.eta, key)
        noise = jax.random.normal(jax.random.fold_in(key, 1), state.shape, jnp.float32)
        operator = problem.operator
        known = jnp.sqrt(step.a_s) * operator.pinv(problem.y)
        seen = operator.pinv(operator.apply(jnp.sqrt(step.b_s) * noise - x_s))
        return x_s + known + seen, Info(denoised.x0, residual, known + seen)
