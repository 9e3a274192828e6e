"""Plug-and-play, RED: the prior as a plain denoiser, no noise added.

x <- proximal(D(x; sigma)), sigma falling. At a fixed sigma this is the fixed-point
iteration of RED: it rests where H^T (H x - y) / sigma_y^2 + strength (x - D(x)) = 0.

Reference: Romano, Elad, Milanfar, "The little engine that could: regularization by
denoising", SIAM J. Imaging Sciences 2017, section 4.2; Zhang, Li, Zuo, Zhang, Van Gool,
Timofte, "Plug-and-play image restoration with deep denoiser prior", PAMI 2021,
algorithm 1.
"""

from typing import Any

import jax.numpy as jnp

from pigdm_jax.prior import Prior
from pigdm_jax.problem import Problem, proximal
from pigdm_jax.pytree import pytree_class, static_field
from pigdm_jax.samplers.base import Info, Spaced, evaluate
from pigdm_jax.schedule import Step
from pigdm_jax.types import Image, PRNGKey

LAMBDA = 0.23


@pytree_class
class PnP(Spaced):
    """Plug-and-play restoration, for any operator.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: the part of the noise levels where sigma begins.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      scale: the lambda of Zhang et al. over 0.23.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=0.15)
    spacing: str = static_field(default="uniform")
    scale: Any = 1.0

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> Image:
        """The pseudoinverse; the noisy sample is not used."""
        del prior, x, key
        operator = problem.operator
        damping = problem.sigma**2 * step.a_t / step.b_t if operator.linear else 0.0
        return operator.pinv(problem.y, damping)

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Denoise, fit."""
        del key
        denoised, residual = evaluate(prior, problem, jnp.sqrt(step.a_t) * state, step)
        strength = LAMBDA * self.scale * step.a_t / step.b_t
        fitted = proximal(problem, denoised.x0, strength)
        return fitted, Info(denoised.x0, residual, fitted - denoised.x0)
