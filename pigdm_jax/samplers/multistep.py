"""Second-order steps: the guided prediction is extrapolated from the last two."""

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
    """The sample, and the prediction of the previous step.

    Attributes:
      x: the noisy sample, (H, W, C).
      x0: the guided prediction of the previous step, (H, W, C).
      width: width of the previous step in lambda; 0 before the first step.
    """

    x: Image
    x0: Image
    width: Scalar


@pytree_class
class Multistep(Spaced):
    """DPM-Solver++ (2M) with guidance in its prediction.

    DDIM treats the prediction x0 as constant during a step. Here it is linear in
    lambda = log(sqrt(a) / sqrt(1 - a)), with the slope between the previous prediction
    and this one, so the step is second-order without another evaluation: DDIM's step is
    made from

        x0 + h / (2 h_prev) (x0 - x0_prev),

    where h is the width of the step in lambda. The last step, which ends at
    lambda = infinity, uses x0 itself. The result is not projected onto the measurement.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE) and one
        vector-Jacobian product.
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (solves the probability flow ODE) to 1
        (solves the SDE).
      guidance: a `pigdm_jax.Guidance`.

    Reference: Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models", 2022, algorithm 2 (2M), and its SDE form for eta = 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.Multistep(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> image.shape
      (4, 4, 1)
    """

    same_steps = True

    steps: int = static_field(default=20)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0
    guidance: Any = Pseudoinverse()

    project = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Those of the guidance."""
        return self.guidance.needs

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> MultistepState:
        """The noisy sample, without a previous step."""
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
        """DDIM's step from the prediction extrapolated to the middle of the step."""
        guided = self.guidance(prior, problem, state.x, step)
        correction = correction_of(guided, step, self.eta)
        # The x0 from which an unguided DDIM step arrives where the guided one does.
        _, c2 = ddim_coefficients(step, self.eta)
        weight = jnp.sqrt(step.a_s) - c2 * jnp.sqrt(step.a_t / step.b_t)
        x0 = guided.x0 + correction / weight
        # Lambda is infinite at the clean image, so the last step is not extrapolated.
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
        """The sample itself."""
        return state.x
