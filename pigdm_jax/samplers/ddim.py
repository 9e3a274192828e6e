"""The paper's sampler: DDIM steps from the guided prediction.

Reference: Song, Vahdat, Mardani, Kautz, "Pseudoinverse-guided diffusion models for
inverse problems", ICLR 2023, algorithm 1.
"""

from typing import Any

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.guidance import Pseudoinverse
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import correction_of, ddim_update
from pigdm_jax.samplers.records import Info


@pytree_class
class DDIM(Spaced):
    """The paper's Algorithm 1, for any guidance.

    Attributes:
      steps: evaluations of the prior (NFE), each with one vector-Jacobian product.
      start: begin at this part of the noise levels, in (0, 1]; None from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: 0 (deterministic DDIM) to 1 (DDPM-like).
      guidance: how the prediction is pulled towards the measurement.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0
    guidance: Any = Pseudoinverse()

    project = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the guidance needs."""
        return self.guidance.needs

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """x_s = sqrt(a_s) guided_x0 + c1 z + c2 guided_eps."""
        guided = self.guidance(prior, problem, state, step)
        x_s = ddim_update(guided.guided_x0, guided.guided_eps, step, self.eta, key)
        info = Info(guided.x0, guided.residual, correction_of(guided, step, self.eta))
        return x_s, info
