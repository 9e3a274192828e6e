"""RED-diff: variational inference of one image, by Adam over falling noise levels.

Reference: Mardani, Song, Kautz, Vahdat, "A variational perspective on solving inverse
problems with diffusion models", ICLR 2024, algorithm 1: lambda = 0.25 (times `scale`),
weights sigma_t / sqrt(alpha_bar), learning rate 0.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, evaluate
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey

LAMBDA = 0.25
OPTIMISER = optax.adam(0.1, b1=0.9, b2=0.99)


class Mean(NamedTuple):
    """The image that is being improved, and Adam's memory of it."""

    image: Image
    adam: optax.OptState


def begin(problem: Problem, x: Image, first: Step) -> Mean:
    """The pseudoinverse; the noisy sample is not used."""
    del x, first
    image = problem.operator.pinv(problem.y)
    return Mean(image, OPTIMISER.init(image))


def step(problem: Problem, mean: Mean, step: Step, key: PRNGKey) -> Stepped:
    """One step of Adam on the misfit and the score-matching loss at this level."""
    z = jax.random.normal(key, mean.image.shape)
    noisy = jnp.sqrt(step.a_t) * mean.image + jnp.sqrt(step.b_t) * z
    denoised, residual = evaluate(problem, noisy, step)
    measured, transpose = jax.vjp(problem.operator.apply, mean.image)
    (pulled,) = transpose(jax.tree.map(jnp.subtract, measured, problem.y))
    weight = LAMBDA * problem.scale * jnp.sqrt(step.b_t / step.a_t)
    gradient = pulled + weight * (denoised.eps - z)
    update, adam = OPTIMISER.update(gradient, mean.adam)
    moved = optax.apply_updates(mean.image, update)
    return Stepped(Mean(moved, adam), denoised.x0, residual, update)


RED_DIFF = Method(
    step, begin, image=lambda mean: mean.image, needs="differentiable", eta=None
)
