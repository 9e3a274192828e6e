"""SNIPS: Langevin dynamics of the posterior, coefficient by coefficient.

One Langevin step at each noise level, so it needs hundreds of them. What comes out is
the last prediction, with the measured coefficients where y is noise-free.

Reference: Kawar, Vaksman, Elad, "SNIPS: solving noisy inverse problems stochastically",
NeurIPS 2021, algorithm 1. `scale` is its step size c over 0.23.
"""

from typing import NamedTuple

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

SIZE = 0.23


class Chain(NamedTuple):
    """The sample over sqrt(alpha_bar), and the clean image predicted from it."""

    x: Image
    x0: Image


def begin(problem: Problem, x: Image, first: Step) -> Chain:
    """Pure noise."""
    del problem
    x = x / jnp.sqrt(first.a_t)
    return Chain(x, x)


def step(problem: Problem, state: Chain, step: Step, key: PRNGKey) -> Stepped:
    """Add c A score + sqrt(2 c A) z, with a step size A for each coefficient."""
    variance = step.b_t / step.a_t
    denoised, residual = evaluate(problem, jnp.sqrt(step.a_t) * state.x, step)
    spectrum, size = problem.operator.spectrum, SIZE * problem.scale
    noise = noise_in_spectrum(spectrum, problem.noise_std) ** 2
    known = spectrum.analyse(problem.operator.pinv(problem.y))
    x, x0, z = (
        split(spectrum, image)
        for image in (state.x, denoised.x0, jax.random.normal(key, state.x.shape))
    )
    # Levels noisier than the measurement see it through the noise they add to it;
    # at the others it is one more, independent, source.
    sees = noise < variance
    pull = (known - x.measured) / jnp.maximum(jnp.abs(noise - variance), 1e-12)
    prior_score = (x0.measured - x.measured) / variance
    score = jnp.where(sees, pull, prior_score + pull)
    score = jnp.where(jnp.isinf(noise), prior_score, score)
    pace = jnp.where(sees, variance - noise, variance * (1 - variance / noise))
    pace = size * jnp.where(jnp.isinf(noise), variance, pace)
    measured = x.measured + pace * score + jnp.sqrt(2 * pace) * z.measured
    pace = size * variance
    rest = x.rest + size * (x0.rest - x.rest) + jnp.sqrt(2 * pace) * z.rest
    sample = join(spectrum, Coordinates(measured, rest))
    exact = jnp.where(noise == 0, known, x0.measured)
    fitted = join(spectrum, Coordinates(exact, x0.rest))
    return stepped(Chain(sample, fitted), denoised.x0, residual, fitted)


SNIPS = Method(step, begin, image=lambda chain: chain.x0, needs="spectrum", eta=None)
