"""Guided steps for few evaluations: the prediction is fitted to the measurement.

The guidance moves the prediction by twice what DDIM would, and the prediction is then
fitted to the measurement. Without noise that is its projection, so that the guidance
decides what the operator hides, and the measurement what it shows. With noise it is the
proximal step at a variance far below the level's: the guidance has most of the work,
and no more of the measurement's noise comes in than the level's own covers.

    x0' = guided_x0 - x0 and c2 / sqrt(a_s) (guided_eps - eps), added up and doubled
    fitted = argmin_x ||y - H x||^2 / sigma_y^2 + ||x - x0 - x0'||^2 / (0.02 sigma_t^2)
    x_s = sqrt(a_s) fitted + sqrt(1 - a_s) (eta z + sqrt(1 - eta^2) eps)

with the eps that belongs to the fitted prediction. At eta = 1, the default, all noise
is fresh, which forgets the errors of wide steps.

References: the guidance of Song et al., ICLR 2023, in the steps of Wang, Yu, Zhang,
"Zero-shot image restoration using denoising diffusion null-space model", ICLR 2023, and
of Zhu et al., "Denoising diffusion models for plug-and-play image restoration", 2023.
"""

from typing import Any

import jax.numpy as jnp

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.guidance import Calibrated, Guidance, Pseudoinverse
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem, proximal
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import correction_of, renoise
from pigdm_jax.samplers.records import Info

# How strongly linear operators are guided, and the variance of the fit over the
# level's: chosen on eight Kodak photos and eight tasks with noise, of 1, 1.5, 2, 3 and
# of 0, 0.02, 0.05, 0.125, 0.25, 0.5 and 1.
STRENGTH = 2.0
TRUST = 0.02


@pytree_class
class Fitted(Spaced):
    """The default: as good at 10 evaluations as ddim at 100; any operator.

    Attributes:
      steps: evaluations of the prior (NFE), each with one vector-Jacobian product.
      start: begin at this part of the noise levels, in (0, 1]; None from pure noise.
      spacing: of the noise levels, "quadratic" (denser at low noise) or "uniform".
      eta: 0 to 1, how much of the noise is fresh in every step.
      guidance: how the prediction is pulled towards the measurement; None is
        `Calibrated` where the operator is linear, else `Pseudoinverse`.
    """

    steps: int = static_field(default=10)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="quadratic")
    eta: Any = 1.0
    guidance: Any = None

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the guidance needs."""
        return Needs() if self.guidance is None else self.guidance.needs

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Guide, fit, add noise."""
        guided = self._guidance(problem)(prior, problem, state, step)
        # What DDIM would add to x_s, over sqrt(a_s): the shift of its prediction.
        shift = correction_of(guided, step, self.eta) / jnp.sqrt(step.a_s)
        strength = STRENGTH if problem.operator.linear else 1.0
        variance = TRUST * step.b_t / step.a_t
        x0 = proximal(problem, guided.x0 + strength * shift, variance)
        x_s = renoise(state, x0, step, self.eta, key)
        return x_s, Info(guided.x0, guided.residual, x0 - guided.x0)

    def _guidance(self, problem: Problem) -> Guidance:
        if self.guidance is not None:
            return self.guidance
        return Calibrated() if problem.operator.linear else Pseudoinverse()
