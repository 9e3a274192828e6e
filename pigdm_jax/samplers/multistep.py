"""Second-order steps: the guided prediction is extrapolated from the last two.

DDIM holds x0 constant over a step. Here it is linear in lambda = log(alpha / sigma), as
the step before shows it, which costs no further evaluation.

Reference: Lu et al., "DPM-Solver++", 2022, algorithm 2 (2M), for eta = 0, and its SDE
form for eta = 1; here with the guidance in the prediction.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey, Scalar
from pigdm_jax.guidance import Pseudoinverse
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import correction_of, ddim_coefficients, ddim_update
from pigdm_jax.samplers.records import Info


class MultistepState(NamedTuple):
    """The sample, and the step before.

    Attributes:
      x: the noisy sample.
      x0: the guided prediction of the step before.
      width: its width in lambda; 0 before the first step.
    """

    x: Image
    x0: Image
    width: Scalar


@pytree_class
class Multistep(Spaced):
    """DPM-Solver++ (2M) with guidance in its prediction.

    Attributes:
      steps: evaluations of the prior (NFE), each with one vector-Jacobian product.
      start: begin at this part of the noise levels, in (0, 1]; None from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: 0 (an ODE's solver) to 1 (an SDE's).
      guidance: how the prediction is pulled towards the measurement.
    """

    steps: int = static_field(default=20)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0
    guidance: Any = Pseudoinverse()

    project = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the guidance needs."""
        return self.guidance.needs

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> MultistepState:
        """The noisy sample, without a step before."""
        del prior, problem, step, key
        return MultistepState(x, jnp.zeros_like(x), jnp.float32(0))

    def step(
        self,
        prior: Prior,
        problem: Problem,
        state: MultistepState,
        step: Step,
        key: PRNGKey,
    ) -> tuple[MultistepState, Info]:
        """DDIM's step from the prediction extrapolated to the middle of it."""
        guided = self.guidance(prior, problem, state.x, step)
        correction = correction_of(guided, step, self.eta)
        # The x0 from which DDIM without guidance would make the guided step.
        _, c2 = ddim_coefficients(step, self.eta)
        weight = jnp.sqrt(step.a_s) - c2 * jnp.sqrt(step.a_t / step.b_t)
        x0 = guided.x0 + correction / weight
        # To the clean image lambda is infinite, and nothing is left to extrapolate to.
        last = step.b_s <= 0
        b_s = jnp.where(last, 1.0, step.b_s)
        width = 0.5 * (jnp.log(step.a_s / b_s) - jnp.log(step.a_t / step.b_t))
        slope = jnp.where(
            last | (state.width <= 0),
            0.0,
            width / jnp.where(state.width > 0, 2 * state.width, 1),
        )
        ahead = x0 + slope * (x0 - state.x0)
        eps = (state.x - jnp.sqrt(step.a_t) * ahead) / jnp.sqrt(step.b_t)
        x_s = ddim_update(ahead, eps, step, self.eta, key)
        info = Info(guided.x0, guided.residual, correction)
        return MultistepState(x_s, x0, width), info

    def image(self, state: MultistepState) -> Image:
        """The sample."""
        return state.x
