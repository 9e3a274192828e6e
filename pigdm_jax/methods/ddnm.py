"""DDNM and DDNM+: the prediction is replaced by its projection onto the measurement.

Without noise any operator does, linear or not. With noise (DDNM+) the coefficient of
each singular value takes as much of the measurement as the level's noise covers.

Reference: Wang, Yu, Zhang, "Zero-shot image restoration using denoising diffusion
null-space model", ICLR 2023, equations 13, 14 and appendix I.
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import (
    Coordinates,
    Method,
    Problem,
    evaluate,
    join,
    noise_in_spectrum,
    proximal,
    split,
    stepped,
)
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """A DDIM step from the fitted prediction, with the predicted noise as it is."""
    denoised, residual = evaluate(problem, x_t, step)
    z = jax.random.normal(key, x_t.shape)
    x_s, x0 = fit_and_noise(problem, denoised.x0, denoised.eps, z, step)
    return stepped(x_s, denoised.x0, residual, x0)


def fit_and_noise(
    problem: Problem, x0: Image, eps: Image, z: Image, step: Step
) -> tuple[Image, Image]:
    """The sample at s from a prediction, and the prediction fitted to the measurement.

    Where the operator's singular values are not known, noise is met by the proximal
    step of DiffPIR instead.

    Args:
      problem: what is to be restored.
      x0: the predicted clean image.
      eps: the predicted noise.
      z: fresh noise.
      step: the numbers of the step.
    """
    spectrum = problem.operator.spectrum
    eta = problem.eta
    c1, c2 = (jnp.sqrt(step.b_s) * c for c in (eta, jnp.sqrt(1 - eta**2)))
    if spectrum is None:
        fitted = proximal(problem, x0, step.a_t / step.b_t)
        return jnp.sqrt(step.a_s) * fitted + c1 * z + c2 * eps, fitted
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    guess, eps, z = (split(spectrum, image) for image in (x0, eps, z))
    # The noise that a coefficient of H^+ y brings into x_s.
    brought = jnp.sqrt(step.a_s) * noise_in_spectrum(spectrum, problem.noise_std)
    covered = brought**2 <= step.b_s
    share = jnp.where(covered, 1.0, c2 / jnp.where(covered, 1.0, brought))
    taken = guess.measured + share * (known - guess.measured)
    rest = jnp.sqrt(jnp.maximum(step.b_s - brought**2, 0))
    # The measured coefficients of noise-free data are as free as the hidden ones.
    free = (problem.noise_std == 0) | jnp.isinf(brought)
    fresh = jnp.where(covered & ~free, rest, c1)
    kept = jnp.where(free, c2, 0.0)
    fitted = join(spectrum, Coordinates(taken, guess.rest))
    noise = Coordinates(
        fresh * z.measured + kept * eps.measured, c1 * z.rest + c2 * eps.rest
    )
    return jnp.sqrt(step.a_s) * fitted + join(spectrum, noise), fitted


DDNM = Method(step, eta=0.85)
