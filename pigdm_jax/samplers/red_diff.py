"""RED-diff: variational inference of one image, by Adam over falling noise levels.

Reference: Mardani, Song, Kautz, Vahdat, "A variational perspective on solving inverse
problems with diffusion models", ICLR 2024, algorithm 1: lambda = 0.25, weights
sigma_t / sqrt(alpha_bar), learning rate 0.1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate
from pigdm_jax.samplers.records import Info

LAMBDA = 0.25
OPTIMISER = optax.adam(0.1, b1=0.9, b2=0.99)


class REDDiffState(NamedTuple):
    """The image that is being improved, and Adam's memory of it."""

    image: Image
    adam: optax.OptState


@pytree_class
class REDDiff(Spaced):
    """RED-diff; measurements with a gradient.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: the part of the noise levels where it begins; None is 1.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      scale: the paper's lambda over 0.25.
    """

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    scale: Any = 1.0

    name = "red_diff"
    needs = Needs(differentiable=True, noise="scalar")

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> REDDiffState:
        """The pseudoinverse; the noisy sample is not used."""
        del prior, x, step, key
        image = problem.operator.pinv(problem.y)
        return REDDiffState(image, OPTIMISER.init(image))

    def step(
        self,
        prior: Prior,
        problem: Problem,
        state: REDDiffState,
        step: Step,
        key: PRNGKey,
    ) -> tuple[REDDiffState, Info]:
        """One step of Adam on the misfit and the score-matching loss at this level."""
        z = jax.random.normal(key, state.image.shape)
        noisy = jnp.sqrt(step.a_t) * state.image + jnp.sqrt(step.b_t) * z
        denoised, residual = evaluate(prior, problem, noisy, step)
        measured, transpose = jax.vjp(problem.operator.apply, state.image)
        (pulled,) = transpose(jax.tree.map(jnp.subtract, measured, problem.y))
        weight = LAMBDA * self.scale * jnp.sqrt(step.b_t / step.a_t)
        gradient = pulled + weight * (denoised.eps - z)
        update, adam = OPTIMISER.update(gradient, state.adam)
        moved = optax.apply_updates(state.image, update)
        return REDDiffState(moved, adam), Info(denoised.x0, residual, update)

    def image(self, state: REDDiffState) -> Image:
        """The image that was improved."""
        return state.image
