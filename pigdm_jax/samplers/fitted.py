"""The default sampler: guided steps whose prediction is fitted to the measurement."""

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

# Strength of the guidance for linear operators, and variance of the fit divided by the
# noise level's. Chosen on eight Kodak photos and eight tasks with noise, among 1, 1.5,
# 2 and 3, and among 0, 0.02, 0.05, 0.125, 0.25, 0.5 and 1.
STRENGTH = 2.0
TRUST = 0.02
# How late the temperature acts. Chosen on six of these photos and eight tasks without
# noise, among 0, 1, 3, 6 and 12.
COOLING = 6


@pytree_class
class Fitted(Spaced):
    """The default sampler, made for about 10 evaluations; any operator.

    Each step applies guidance, fits the result to the measurement, and adds noise:

        d = guided_x0 - x0 + c2 / sqrt(a_s) (guided_eps - eps)
        fitted = argmin_x ||y - H x||^2 / sigma_y^2 + ||x - x0 - 2 d||^2 / (0.02 s_t^2)
        x_s = sqrt(a_s) fitted + sqrt(1 - a_s) (c eta z + sqrt(1 - eta^2) eps)
        c   = 1 - (1 - tau) a_s^6

    with s_t^2 = (1 - a_t) / a_t and the eps for which x_t is the noisy `fitted`. Here d
    is the shift of x0 that is equivalent to the guidance in DDIM's step; it is doubled
    for linear operators. Without noise in y the fit is a projection: the measurement
    determines the operator's row space, the guidance its null space. With noise the fit
    has a variance far below that of the noise level, so that it adds little of the
    measurement's noise. At eta = 1, the default, all noise is fresh, which discards the
    errors of wide steps. At 10 evaluations it is as good on photos as `DDIM` at 100
    (`benchmarks/README.md`). With a temperature tau below 1 the last steps add less
    noise than the prior is told. Where y has no noise, and the fit puts back all that
    was measured, the result is nearer to the truth, and early steps still choose what
    is not.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE) and one
        vector-Jacobian product.
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "quadratic" (denser at low noise) or "uniform".
      eta: fresh noise in each step, from 0 (none) to 1 (all of the noise).
      guidance: a `pigdm_jax.Guidance`; None is `Calibrated` for linear operators and
        `Pseudoinverse` for others.
      temperature: tau, by which the fresh noise of low noise levels is multiplied, from
        0 (the last steps are then deterministic, as in DPIR) to 1.

    References: the guidance: Song et al., ICLR 2023. The fit: Wang, Yu, Zhang,
    "Zero-shot image restoration using denoising diffusion null-space model", ICLR 2023;
    Zhu et al., "Denoising diffusion models for plug-and-play image restoration", 2023.
    DPIR: Zhang et al., "Plug-and-play image restoration with deep denoiser prior",
    TPAMI 2021.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.Fitted(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=10)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="quadratic")
    eta: Any = 1.0
    guidance: Any = None
    temperature: Any = 1.0

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Those of the guidance."""
        return Needs() if self.guidance is None else self.guidance.needs

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Apply guidance, fit, add noise."""
        guided = self._guidance(problem)(prior, problem, state, step)
        # The shift of x0 that moves x_s as far as the guidance does in DDIM's step.
        shift = correction_of(guided, step, self.eta) / jnp.sqrt(step.a_s)
        strength = STRENGTH if problem.operator.linear else 1.0
        variance = TRUST * step.b_t / step.a_t
        x0 = proximal(problem, guided.x0 + strength * shift, variance)
        cooled = 1 - (1 - self.temperature) * step.a_s**COOLING
        x_s = renoise(state, x0, step, self.eta, key, cooled)
        return x_s, Info(guided.x0, guided.residual, x0 - guided.x0)

    def _guidance(self, problem: Problem) -> Guidance:
        if self.guidance is not None:
            return self.guidance
        return Calibrated() if problem.operator.linear else Pseudoinverse()
