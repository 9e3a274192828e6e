"""DDNM and DDNM+: the prediction is replaced by its projection onto the measurement.

Without noise any operator does, linear or not. With noise (DDNM+) each coefficient
takes as much of the measurement as the level's noise covers.

Reference: Wang, Yu, Zhang, "Zero-shot image restoration using denoising diffusion
null-space model", ICLR 2023, equations 13, 14 and appendix I.
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step, project
from pigdm_jax.methods.base import (
    Coordinates,
    Method,
    Problem,
    evaluate,
    join,
    noise_in_spectrum,
    split,
    stepped,
)
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """A DDIM step from the projected prediction, with the predicted noise as it is."""
    denoised, residual = evaluate(problem, x_t, step)
    z = jax.random.normal(key, x_t.shape)
    spectrum = problem.operator.spectrum if problem.operator.linear else None
    c1, c2 = (jnp.sqrt(step.b_s) * c for c in _shares(problem.eta))
    if spectrum is None:
        fitted = project(problem.operator, problem.y, denoised.x0)
        x_s = jnp.sqrt(step.a_s) * fitted + c1 * z + c2 * denoised.eps
        return stepped(x_s, denoised.x0, residual, fitted)
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    x0, eps, z = (split(spectrum, image) for image in (denoised.x0, denoised.eps, z))
    # The noise that a coefficient of H^+ y brings into x_s.
    brought = jnp.sqrt(step.a_s) * noise_in_spectrum(spectrum, problem.noise_std)
    share = jnp.minimum(1, c2 / jnp.where(brought > 0, brought, 1))
    share = jnp.where(brought**2 <= step.b_s, 1.0, share)
    taken = x0.measured + share * (known - x0.measured)
    fresh = jnp.where(
        brought**2 <= step.b_s,
        jnp.sqrt(jnp.maximum(step.b_s - brought**2, 0)),
        c1,
    )
    # Only without noise is a measured coefficient free to keep the predicted noise.
    noiseless = problem.noise_std == 0
    fresh = jnp.where(noiseless | jnp.isinf(brought), c1, fresh)
    kept = jnp.where(noiseless | jnp.isinf(brought), c2, 0.0)
    fitted = join(spectrum, Coordinates(taken, x0.rest))
    noise = Coordinates(
        fresh * z.measured + kept * eps.measured, c1 * z.rest + c2 * eps.rest
    )
    x_s = jnp.sqrt(step.a_s) * fitted + join(spectrum, noise)
    return stepped(x_s, denoised.x0, residual, fitted)


def _shares(eta: jax.Array) -> tuple[jax.Array, jax.Array]:
    return eta, jnp.sqrt(1 - eta**2)


DDNM = Method(step, noise="spectrum", eta=0.85)
