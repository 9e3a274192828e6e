"""DPS: the gradient of the residual's norm through network and measurement."""

from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.numerics import root
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import ddim_update, evaluate
from pigdm_jax.samplers.records import Info


@pytree_class
class DPS(Spaced):
    """Diffusion posterior sampling; measurements with a gradient.

    Each step makes an unconditional DDIM step x' and moves it against the gradient of
    the residual's norm,

        x_s = x' - zeta grad_{x_t} ||y - h(x0(x_t))||.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE) and one
        vector-Jacobian product.
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (none) to 1 (as much as DDPM).
      scale: zeta, at least 0.

    Reference: Chung, Kim, Mccann, Klasky, Ye, "Diffusion posterior sampling for general
    noisy inverse problems", ICLR 2023, algorithm 1, with the step size
    zeta / ||y - h(x0)|| of section 3.2.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DPS(steps=5, scale=0.3)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0
    scale: Any = 1.0

    needs = Needs(differentiable=True, noise="scalar")

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """An unconditional step, minus zeta times the gradient of ||y - h(x0)||."""
        denoised, residual = evaluate(prior, problem, state, step)
        measured, transpose = jax.vjp(problem.operator.apply, denoised.x0)
        difference = jax.tree.map(jnp.subtract, problem.y, measured)
        leaves = jax.tree.leaves(difference)
        norm = root(sum(jnp.sum(leaf**2) for leaf in leaves))
        (pulled,) = transpose(difference)
        gradient = denoised.vjp(pulled) / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny)
        correction = self.scale * gradient
        x_s = ddim_update(denoised.x0, denoised.eps, step, self.eta, key) + correction
        return x_s, Info(denoised.x0, residual, correction)
