"""DDNM and DDNM+: the prediction is projected onto the measurement in every step."""

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

    Each step projects the prediction onto the measurement and adds noise,

        x0' = x0 + H+ (y - H x0)
        x_s = sqrt(a_s) x0' + sqrt(1 - a_s) (eta z + sqrt(1 - eta^2) eps).

    With noise in y (DDNM+), x0' moves towards the measurement only partly, for each
    singular value as far as the noise that this brings into x_s is at most the noise of
    the level, and less fresh noise is added there. If the singular values are unknown,
    or each value of y has its own noise level, the proximal step of `DiffPIR` replaces
    this projection.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (none) to 1 (all of the noise).

    Reference: Wang, Yu, Zhang, "Zero-shot image restoration using denoising diffusion
    null-space model", ICLR 2023, equations 13, 14 and appendix I.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDNM(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 0.85

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """A DDIM step from the fitted prediction and the unchanged predicted noise."""
        denoised, residual = evaluate(prior, problem, state, step)
        z = jax.random.normal(key, state.shape, jnp.float32)
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

    Args:
      problem: the measurement.
      x0: the predicted clean image, (H, W, C).
      eps: the predicted noise, (H, W, C).
      z: fresh noise, (H, W, C).
      step: the coefficients of the step.
      eta: fresh noise, from 0 (none) to 1 (all of the noise).
      seen_eta: eta for coefficients measured with more noise than the level has. The
        rest of their noise is the measurement's.
    """
    spectrum = None if problem.noise_per_value else problem.operator.spectrum
    c1, c2 = _fresh_and_kept(step, eta)
    if spectrum is None:
        fitted = proximal(problem, x0, step.b_t / step.a_t)
        return jnp.sqrt(step.a_s) * fitted + c1 * z + c2 * eps, fitted
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    parts, eps_parts, z_parts = (split(spectrum, image) for image in (x0, eps, z))
    # Standard deviation of the noise that each coefficient of H+ y has in x_s.
    inherited = jnp.sqrt(step.a_s) * noise_in_spectrum(spectrum, problem.sigma)
    covered = inherited**2 <= step.b_s
    seen_fresh, seen_kept = _fresh_and_kept(step, seen_eta)
    weight = jnp.where(covered, 1.0, seen_kept / jnp.where(covered, 1.0, inherited))
    measured = parts.measured + weight * (known - parts.measured)
    rest = root(step.b_s - inherited**2)
    # Coefficients that are exact, or not measured, get the noise of the null space.
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
    """Standard deviations at s of the fresh noise and of the kept noise."""
    sigma = root(step.b_s)
    return sigma * eta, sigma * root(1 - eta**2)
