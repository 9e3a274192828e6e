"""DDIM's step and related steps, as functions of a prediction."""

import jax
import jax.numpy as jnp

from pigdm_jax.core.numerics import root
from pigdm_jax.core.types import Image, Number, PRNGKey, Scalar
from pigdm_jax.guidance.base import Denoised, Guided, denoise
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, measurement_residual


def ddim_coefficients(step: Step, eta: Number) -> tuple[jax.Array, jax.Array]:
    """DDIM's standard deviations of fresh and of predicted noise.

        c1 = eta sqrt((1 - a_t / a_s) (1 - a_s) / (1 - a_t))
        c2 = sqrt(1 - a_s - c1^2)

    computed without subtracting nearly equal numbers.

    Args:
      step: the coefficients of the step from t to s.
      eta: fresh noise, from 0 (none) to 1 (as much as DDPM).

    Returns:
      c1 and c2.

    Reference: Song, Meng, Ermon, "Denoising diffusion implicit models", ICLR 2021,
    equation 16.

    Examples:
      >>> import pigdm_jax as pj
      >>> step = pj.priors.schedule.step_at(pj.Schedule.linear(), 500, 400)
      >>> c1, c2 = pj.samplers.ddim_coefficients(step, 0.0)
      >>> float(c1), round(float(c2), 4)
      (0.0, 0.8971)
    """
    c1 = root(step.b_s * step.fresh) * eta
    c2 = root(step.b_s * (step.kept + (1 - eta**2) * step.fresh))
    return c1, c2


def ddim_update(x0: Image, eps: Image, step: Step, eta: Number, key: PRNGKey) -> Image:
    """DDIM's step, x_s = sqrt(a_s) x0 + c1 z + c2 eps, with fresh noise z."""
    c1, c2 = ddim_coefficients(step, eta)
    z = jax.random.normal(key, x0.shape, jnp.float32)
    return jnp.sqrt(step.a_s) * x0 + c1 * z + c2 * eps


def renoise(
    x_t: Image,
    x0: Image,
    step: Step,
    eta: Number,
    key: PRNGKey,
    fresh: Number = 1.0,
) -> Image:
    """The next sample from a changed prediction x0.

        x_s = sqrt(a_s) x0 + sqrt(1 - a_s) (fresh eta z + sqrt(1 - eta^2) eps)

    with fresh noise z and the eps for which x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps.

    Args:
      x_t: the sample.
      x0: the changed prediction.
      step: the coefficients of the step from t to s.
      eta: fresh noise, from 0 (none) to 1 (all of the noise).
      key: of the fresh noise.
      fresh: factor of the fresh noise.

    Reference: Zhu et al. 2023 (DiffPIR), equation 15.
    """
    eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    z = jax.random.normal(key, x_t.shape, jnp.float32)
    noise = fresh * eta * z + root(1 - eta**2) * eps
    return jnp.sqrt(step.a_s) * x0 + root(step.b_s) * noise


def correction_of(guided: Guided, step: Step, eta: Number) -> Image:
    """The term w g that guidance adds to x_s in DDIM's step."""
    _, c2 = ddim_coefficients(step, eta)
    return jnp.sqrt(step.a_s) * (guided.guided_x0 - guided.x0) + c2 * (
        guided.guided_eps - guided.eps
    )


def evaluate(
    prior: Prior, problem: Problem, x_t: Image, step: Step
) -> tuple[Denoised, Scalar]:
    """Evaluate the prior once; also the residual of its prediction."""
    denoised = denoise(prior, x_t, step)
    return denoised, measurement_residual(problem, denoised.x0)
