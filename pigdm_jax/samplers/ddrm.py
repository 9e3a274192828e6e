"""DDRM: a separate rule for the coefficient of each singular value."""

from typing import Any

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


@pytree_class
class DDRM(Spaced):
    """Denoising diffusion restoration; operators with known singular values.

    With sigma = sqrt((1 - a_s) / a_s) and x = x_s / sqrt(a_s), each coefficient of x is
    sampled by one of three rules. A coefficient that y measures with noise
    sigma_y / d, for the singular value d, below sigma is drawn around the measurement,
    N(H+ y, sigma^2 - sigma_y^2 / d^2). A noisier one is drawn around the prediction,

        x0 + sqrt(1 - eta^2) sigma (H+ y - x0) d / sigma_y + eta sigma z,

    and one that is not measured follows DDIM,
    x0 + sqrt(1 - eta^2) sigma eps + eta sigma z.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the noise levels to start at, in (0, 1]; None starts from pure
        noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      eta: fresh noise in each step, from 0 (none) to 1 (all of the noise).

    Reference: Kawar, Elad, Ermon, Song, "Denoising diffusion restoration models",
    NeurIPS 2022, equations 7 and 8, with eta_b = 1.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDRM(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=100)
    start: float | None = static_field(default=None)
    spacing: str = static_field(default="uniform")
    eta: Any = 0.85

    needs = Needs(spectrum=True, noise="scalar")

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> Image:
        """Measured coefficients start at the measurement, with noise added."""
        del prior, key
        spectrum = problem.operator.spectrum
        sigma = jnp.sqrt(step.b_t / step.a_t)
        known = spectrum.analyse(problem.operator.pinv(problem.y))
        noise = noise_in_spectrum(spectrum, problem.sigma)
        parts = split(spectrum, x / jnp.sqrt(step.a_t))
        fresh = root(sigma**2 - noise**2) / sigma
        started = jnp.where(
            noise < sigma, known + fresh * parts.measured, parts.measured
        )
        return jnp.sqrt(step.a_t) * join(spectrum, Coordinates(started, parts.rest))

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """The paper's step, with x = x_t / sqrt(a_t) in place of its x_t."""
        denoised, residual = evaluate(prior, problem, state, step)
        spectrum, eta = problem.operator.spectrum, self.eta
        sigma = root(step.b_s / step.a_s)
        noise = noise_in_spectrum(spectrum, problem.sigma)
        known = spectrum.analyse(problem.operator.pinv(problem.y))
        x0, eps = split(spectrum, denoised.x0), split(spectrum, denoised.eps)
        z = split(spectrum, jax.random.normal(key, state.shape, jnp.float32))
        carried = root(1 - eta**2) * sigma
        # The deviation of H+ y from the prediction, as noise of unit variance.
        error = (known - x0.measured) / jnp.where(noise > 0, noise, 1)
        noisier = x0.measured + carried * error + eta * sigma * z.measured
        hidden = x0.measured + carried * eps.measured + eta * sigma * z.measured
        fresh = root(sigma**2 - noise**2)
        clearer = known + fresh * z.measured
        measured = jnp.where(noise > sigma, noisier, clearer)
        measured = jnp.where(jnp.isinf(noise), hidden, measured)
        rest = x0.rest + carried * eps.rest + eta * sigma * z.rest
        x_s = jnp.sqrt(step.a_s) * join(spectrum, Coordinates(measured, rest))
        exact = jnp.where(noise > sigma, x0.measured, known)
        fitted = join(spectrum, Coordinates(exact, x0.rest))
        return x_s, Info(denoised.x0, residual, fitted - denoised.x0)
