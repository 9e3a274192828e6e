"""SNIPS: Langevin dynamics of the posterior in the operator's spectrum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.core.numerics import root
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate
from pigdm_jax.samplers.records import Info
from pigdm_jax.samplers.spectral import Coordinates, join, noise_in_spectrum, split

SIZE = 0.23


class SNIPSState(NamedTuple):
    """The sample divided by sqrt(a_t), and the clean image predicted from it."""

    x: Image
    x0: Image


@pytree_class
class SNIPS(Spaced):
    """Langevin dynamics; operators with known singular values.

    At each noise level it makes one Langevin step of x = x_t / sqrt(a_t), for each
    coefficient in the operator's spectrum,

        x <- x + c A score + sqrt(2 c A) z,

    with a step size A that depends on the noise of the level and of the coefficient.
    Because there is one step at each level, it needs hundreds of levels. The result is
    the last prediction, with the measured coefficients where y is exact.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      scale: c / 0.23, at least 0; 0.23 is the paper's value.

    Reference: Kawar, Vaksman, Elad, "SNIPS: solving noisy inverse problems
    stochastically", NeurIPS 2021, algorithm 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.SNIPS(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=200)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    scale: Any = 1.0

    needs = Needs(spectrum=True, noise="scalar")

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> SNIPSState:
        """The noisy sample, also in place of a first prediction."""
        del prior, problem, key
        x = x / jnp.sqrt(step.a_t)
        return SNIPSState(x, x)

    def step(
        self,
        prior: Prior,
        problem: Problem,
        state: SNIPSState,
        step: Step,
        key: PRNGKey,
    ) -> tuple[SNIPSState, Info]:
        """One Langevin step."""
        variance = step.b_t / step.a_t
        x_t = jnp.sqrt(step.a_t) * state.x
        denoised, residual = evaluate(prior, problem, x_t, step)
        spectrum, size = problem.operator.spectrum, SIZE * self.scale
        noise = noise_in_spectrum(spectrum, problem.sigma) ** 2
        known = spectrum.analyse(problem.operator.pinv(problem.y))
        x, x0 = split(spectrum, state.x), split(spectrum, denoised.x0)
        z = split(spectrum, jax.random.normal(key, state.x.shape, jnp.float32))
        # At levels with more noise than the measurement, x is the measurement plus the
        # rest of the noise. At other levels the two are independent sources. Each
        # formula gets a finite value where the other applies, because the gradient of
        # `where` would be NaN otherwise.
        unseen = jnp.isinf(noise)
        sees = noise < variance
        covered = jnp.where(sees, noise, 0)
        further = jnp.where(sees | unseen, 2 * variance, noise)
        gap = jnp.where(sees, variance - covered, further - variance)
        pull = (known - x.measured) / jnp.maximum(gap, 1e-12)
        prior_score = (x0.measured - x.measured) / variance
        score = jnp.where(sees, pull, prior_score + jnp.where(unseen, 0, pull))
        step_size = jnp.where(sees, gap, variance * (1 - variance / further))
        step_size = size * jnp.where(unseen, variance, step_size)
        measured = x.measured + step_size * score + root(2 * step_size) * z.measured
        step_size = size * variance
        rest = x.rest + size * (x0.rest - x.rest) + root(2 * step_size) * z.rest
        sample = join(spectrum, Coordinates(measured, rest))
        exact = jnp.where(noise == 0, known, x0.measured)
        fitted = join(spectrum, Coordinates(exact, x0.rest))
        return SNIPSState(sample, fitted), Info(
            denoised.x0, residual, fitted - denoised.x0
        )

    def image(self, state: SNIPSState) -> Image:
        """The last prediction, fitted to the measurement."""
        return state.x0
