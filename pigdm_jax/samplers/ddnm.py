"""DDNM and DDNM+: the prediction is replaced by its projection onto the measurement.

Without noise any operator does, linear or not. With noise (DDNM+) the coefficient of
each singular value takes as much of the measurement as the level's noise covers.

Reference: Wang, Yu, Zhang, "Zero-shot image restoration using denoising diffusion
null-space model", ICLR 2023, equations 13, 14 and appendix I.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.numerics import root
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, Number, PRNGKey, Scalar
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, proximal
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate
from pigdm_jax.samplers.records import Info
from pigdm_jax.samplers.spectral import Coordinates, join, noise_in_spectrum, split


@pytree_class
class DDNM(Spaced):
    """The denoising diffusion null-space model, for any operator.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: begin at this part of the noise levels, in (0, 1]; None from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: 0 to 1, how much of the noise is fresh in every step.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 0.85

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """A DDIM step from the fitted prediction, with the predicted noise as it is."""
        denoised, residual = evaluate(prior, problem, state, step)
        z = jax.random.normal(key, state.shape)
        x_s, x0 = fit_and_noise(
            problem, denoised.x0, denoised.eps, z, step, self.eta, self.eta
        )
        return x_s, Info(denoised.x0, residual, x0 - denoised.x0)


def fit_and_noise(
    problem: Problem,
    x0: Image,
    eps: Image,
    z: Image,
    step: Step,
    eta: Number,
    seen_eta: Number,
) -> tuple[Image, Image]:
    """The sample at s from a prediction, and the prediction fitted to the measurement.

    Where the operator's singular values are not known, or every measured value has
    noise of its own, noise is met by the proximal step of DiffPIR instead.

    Args:
      problem: what is to be restored.
      x0: the predicted clean image.
      eps: the predicted noise.
      z: fresh noise.
      step: the numbers of the step.
      eta: how much of the noise is fresh.
      seen_eta: what eta is for coefficients that the measurement shows with noise. The
        part of their noise that is not fresh is the measurement's own.
    """
    spectrum = None if problem.noise_per_value else problem.operator.spectrum
    c1, c2 = _fresh_and_kept(step, eta)
    if spectrum is None:
        fitted = proximal(problem, x0, step.b_t / step.a_t)
        return jnp.sqrt(step.a_s) * fitted + c1 * z + c2 * eps, fitted
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    parts, eps_parts, z_parts = (split(spectrum, image) for image in (x0, eps, z))
    # The noise that a coefficient of H^+ y brings into x_s.
    inherited = jnp.sqrt(step.a_s) * noise_in_spectrum(spectrum, problem.sigma)
    covered = inherited**2 <= step.b_s
    seen_fresh, seen_kept = _fresh_and_kept(step, seen_eta)
    weight = jnp.where(covered, 1.0, seen_kept / jnp.where(covered, 1.0, inherited))
    measured = parts.measured + weight * (known - parts.measured)
    rest = root(step.b_s - inherited**2)
    # The measured coefficients of noise-free data are as free as the hidden ones.
    free = (problem.sigma == 0) | jnp.isinf(inherited)
    fresh = jnp.where(free, c1, jnp.where(covered, rest, seen_fresh))
    kept = jnp.where(free, c2, 0.0)
    fitted = join(spectrum, Coordinates(measured, parts.rest))
    noise = Coordinates(
        fresh * z_parts.measured + kept * eps_parts.measured,
        c1 * z_parts.rest + c2 * eps_parts.rest,
    )
    return jnp.sqrt(step.a_s) * fitted + join(spectrum, noise), fitted


def _fresh_and_kept(step: Step, eta: Number) -> tuple[Scalar, Scalar]:
    """Standard deviations of the noise at s: of the fresh, and of the rest."""
    sigma = root(step.b_s)
    return sigma * eta, sigma * root(1 - eta**2)
