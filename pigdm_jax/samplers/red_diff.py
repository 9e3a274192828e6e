"""RED-diff: one image optimised by Adam over falling noise levels."""

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
    """The image mu, (H, W, C), and the state of Adam."""

    image: Image
    adam: optax.OptState


@pytree_class
class REDDiff(Spaced):
    """RED-diff: variational inference of one image; measurements with a gradient.

    One step of Adam at each noise level, with fresh noise z, along

        grad_mu ||y - h(mu)||^2 / 2 + lambda sqrt((1 - a_t) / a_t) (eps(x_t, t) - z)

    where x_t = sqrt(a_t) mu + sqrt(1 - a_t) z. It starts at mu = h+(y). The learning
    rate is 0.1, and b1 = 0.9, b2 = 0.99.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None is 1.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      scale: lambda / 0.25, at least 0; 0.25 is the paper's value.

    Reference: Mardani, Song, Kautz, Vahdat, "A variational perspective on solving
    inverse problems with diffusion models", ICLR 2024, algorithm 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.REDDiff(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

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
        """One step of Adam on the data term and the score-matching loss."""
        z = jax.random.normal(key, state.image.shape, jnp.float32)
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
        """The image mu."""
        return state.image
