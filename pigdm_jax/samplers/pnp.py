"""Plug-and-play restoration: the prior as a plain denoiser, without added noise."""

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

    Each step denoises at a falling noise level sigma and fits to the measurement,

        x <- argmin_z ||y - H z||^2 / sigma_y^2 + lambda ||z - D(x)||^2 / sigma^2,

    where D(x) is the prior's x0 for x_t = sqrt(a_t) x and sigma^2 = (1 - a_t) / a_t. It
    starts at the pseudoinverse and is deterministic. At a constant sigma it is the
    fixed-point iteration of RED, whose limit satisfies
    H^T (H x - y) / sigma_y^2 + lambda (x - D(x)) / sigma^2 = 0.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None is 1.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      scale: lambda / 0.23, at least 0; 0.23 is the value of Zhang et al.

    References: Romano, Elad, Milanfar, "The little engine that could: regularization by
    denoising", SIAM J. Imaging Sciences 2017, section 4.2; Zhang, Li, Zuo, Zhang, Van
    Gool, Timofte, "Plug-and-play image restoration with deep denoiser prior", PAMI
    2021, algorithm 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.PnP(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

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
        """Denoise, then fit to the measurement."""
        del key
        denoised, residual = evaluate(prior, problem, jnp.sqrt(step.a_t) * state, step)
        variance = step.b_t / (step.a_t * LAMBDA * self.scale)
        fitted = proximal(problem, denoised.x0, variance)
        return fitted, Info(denoised.x0, residual, fitted - denoised.x0)
