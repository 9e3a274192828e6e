"""DiffPIR: half-quadratic splitting, with the data term solved in closed form."""

from typing import Any

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, proximal
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate, renoise
from pigdm_jax.samplers.records import Info

LAMBDA = 8.0


@pytree_class
class DiffPIR(Spaced):
    """DiffPIR: a proximal step on the data term in every step; any operator.

    Each step fits the prediction to the measurement and adds noise consistent with it,

        x0' = argmin_x ||y - H x||^2 / sigma_y^2 + lambda ||x - x0||^2 / s_t^2
        x_s = sqrt(a_s) x0' + sqrt(1 - a_s) (eta z + sqrt(1 - eta^2) eps')

    with s_t^2 = (1 - a_t) / a_t and the eps' for which x_t is the noisy x0'. Without
    noise in y the first line is the projection onto the measurement.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: square root of the paper's zeta; fresh noise in each step, from 0 (none) to 1
        (all of the noise).
      scale: lambda / 8, at least 0; 8 is one of the paper's values.

    Reference: Zhu, Zhang, Liang, Cao, Wen, Timofte, Van Gool, "Denoising diffusion
    models for plug-and-play image restoration", CVPR workshops 2023, algorithm 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DiffPIR(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 0.55
    scale: Any = 1.0

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Fit the prediction to the measurement, and add noise consistent with it."""
        denoised, residual = evaluate(prior, problem, state, step)
        variance = step.b_t / (step.a_t * LAMBDA * self.scale)
        fitted = proximal(problem, denoised.x0, variance)
        x_s = renoise(state, fitted, step, self.eta, key)
        return x_s, Info(denoised.x0, residual, fitted - denoised.x0)
