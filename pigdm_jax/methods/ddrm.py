"""DDRM: each singular value's coefficient is restored by its own rule.

Reference: Kawar, Elad, Ermon, Song, "Denoising diffusion restoration models", NeurIPS
2022, equations 7 and 8, with eta_b = 1.
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
    split,
    stepped,
)
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def begin(problem: Problem, x: Image, first: Step) -> Image:
    """What is measured starts at its measurement, with the rest of the noise."""
    spectrum = problem.operator.spectrum
    sigma = jnp.sqrt(first.b_t / first.a_t)
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    noise = noise_in_spectrum(spectrum, problem.noise_std)
    parts = split(spectrum, x / jnp.sqrt(first.a_t))
    fresh = jnp.sqrt(jnp.maximum(sigma**2 - noise**2, 0)) / sigma
    started = jnp.where(noise < sigma, known + fresh * parts.measured, parts.measured)
    return jnp.sqrt(first.a_t) * join(spectrum, Coordinates(started, parts.rest))


def step(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
    """The paper's step from sigma_t to sigma_s, x being x_t / sqrt(alpha_bar)."""
    denoised, residual = evaluate(problem, x_t, step)
    spectrum, eta = problem.operator.spectrum, problem.eta
    sigma = jnp.sqrt(step.b_s / step.a_s)
    noise = noise_in_spectrum(spectrum, problem.noise_std)
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    x0, eps, z = (
        split(spectrum, image)
        for image in (
            denoised.x0,
            denoised.eps,
            jax.random.normal(key, x_t.shape),
        )
    )
    carried = jnp.sqrt(1 - eta**2) * sigma
    # Of H^+ y what exceeds the level's own noise counts as noise already there.
    off = (known - x0.measured) / jnp.where(noise > 0, noise, 1)
    noisier = x0.measured + carried * off + eta * sigma * z.measured
    hidden = x0.measured + carried * eps.measured + eta * sigma * z.measured
    fresh = jnp.sqrt(jnp.maximum(sigma**2 - noise**2, 0))
    clearer = known + fresh * z.measured
    measured = jnp.where(noise > sigma, noisier, clearer)
    measured = jnp.where(jnp.isinf(noise), hidden, measured)
    rest = x0.rest + carried * eps.rest + eta * sigma * z.rest
    x_s = jnp.sqrt(step.a_s) * join(spectrum, Coordinates(measured, rest))
    fitted = join(
        spectrum, Coordinates(jnp.where(noise > sigma, x0.measured, known), x0.rest)
    )
    return stepped(x_s, denoised.x0, residual, fitted)


DDRM = Method(step, begin, needs="spectrum", eta=0.85)
