"""DiffPIR: half-quadratic splitting, the measurement's part solved in closed form.

Reference: Zhu, Zhang, Liang, Cao, Wen, Timofte, Van Gool, "Denoising diffusion models
for plug-and-play image restoration", CVPR workshops 2023, algorithm 1.
"""

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
    """DiffPIR, for any operator.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: begin at this part of the noise levels, in (0, 1]; None from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: the root of the paper's zeta, 0 to 1.
      scale: the paper's lambda over 8, which is among the values that it uses.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 0.55
    scale: Any = 1.0

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """The prediction fitted to the measurement, and noise that agrees with it."""
        denoised, residual = evaluate(prior, problem, state, step)
        variance = step.b_t / (step.a_t * LAMBDA * self.scale)
        fitted = proximal(problem, denoised.x0, variance)
        x_s = renoise(state, fitted, step, self.eta, key)
        return x_s, Info(denoised.x0, residual, fitted - denoised.x0)
