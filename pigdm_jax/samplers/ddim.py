"""The paper's sampler: DDIM steps from the guided prediction."""

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

    Each step evaluates the guided pair and makes DDIM's step from it,

        x_s = sqrt(a_s) guided_x0 + c1 z + c2 guided_eps,

    with the coefficients of `ddim_coefficients` and fresh noise z. With the default
    guidance it is PiGDM. The result is not projected onto the measurement.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE) and one
        vector-Jacobian product.
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (deterministic) to 1 (as much as DDPM).
      guidance: a `pigdm_jax.Guidance`.

    References: Song, Vahdat, Mardani, Kautz, "Pseudoinverse-guided diffusion models for
    inverse problems", ICLR 2023, algorithm 1; the step: Song, Meng, Ermon, "Denoising
    diffusion implicit models", ICLR 2021, equation 12.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDIM(steps=5, eta=0.5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> image.shape
      (4, 4, 1)
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 1.0
    guidance: Any = Pseudoinverse()

    project = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Those of the guidance."""
        return self.guidance.needs

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """DDIM's step from the guided pair."""
        guided = self.guidance(prior, problem, state, step)
        x_s = ddim_update(guided.guided_x0, guided.guided_eps, step, self.eta, key)
        info = Info(guided.x0, guided.residual, correction_of(guided, step, self.eta))
        return x_s, info
