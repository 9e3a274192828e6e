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

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, proximal
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate
from pigdm_jax.samplers.records import Info

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
        variance = step.b_t / step.a_t
        return damped_pinv(problem.operator, problem.y, problem.noise_std, variance)

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Denoise, fit."""
        del key
        denoised, residual = evaluate(prior, problem, jnp.sqrt(step.a_t) * state, step)
        variance = step.b_t / (step.a_t * LAMBDA * self.scale)
        fitted = proximal(problem, denoised.x0, variance)
        return fitted, Info(denoised.x0, residual, fitted - denoised.x0)
