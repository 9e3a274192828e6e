"""DDIM's step and its relatives, as functions of a prediction."""

import jax
import jax.numpy as jnp

from pigdm_jax.core.numerics import root
from pigdm_jax.core.types import Image, Number, PRNGKey, Scalar
from pigdm_jax.guidance.base import Denoised, Guided, denoise
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, measurement_residual


def ddim_coefficients(step: Step, eta: Number) -> tuple[jax.Array, jax.Array]:
    """c1 and c2 of Algorithm 1 (DDIM's, Song et al. 2021).

    c1 = eta sqrt((1 - a_t/a_s) (1 - a_s) / (1 - a_t)), c2 = sqrt(1 - a_s - c1^2),
    written without the cancellation.
    """
    c1 = root(step.b_s * step.fresh) * eta
    c2 = root(step.b_s * (step.kept + (1 - eta**2) * step.fresh))
    return c1, c2


def ddim_update(x0: Image, eps: Image, step: Step, eta: Number, key: PRNGKey) -> Image:
    """x_s = sqrt(a_s) x0 + c1 z + c2 eps, with fresh noise z."""
    c1, c2 = ddim_coefficients(step, eta)
    z = jax.random.normal(key, x0.shape)
    return jnp.sqrt(step.a_s) * x0 + c1 * z + c2 * eps


def renoise(x_t: Image, x0: Image, step: Step, eta: Number, key: PRNGKey) -> Image:
    """The sample x_s from a changed x0: fresh noise, and the noise that x_t implies.

    x_s = sqrt(a_s) x0 + sqrt(1 - a_s) (eta z + sqrt(1 - eta^2) eps), with the eps
    for which x_t is the noisy x0 (Zhu et al. 2023, DiffPIR, equation 15).
    """
    eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    z = jax.random.normal(key, x_t.shape)
    noise = eta * z + root(1 - eta**2) * eps
    return jnp.sqrt(step.a_s) * x0 + root(step.b_s) * noise


def correction_of(guided: Guided, step: Step, eta: Number) -> Image:
    """The term w g: what guidance adds to DDIM's x_s."""
    _, c2 = ddim_coefficients(step, eta)
    return jnp.sqrt(step.a_s) * (guided.guided_x0 - guided.x0) + c2 * (
        guided.guided_eps - guided.eps
    )


def evaluate(
    prior: Prior, problem: Problem, x_t: Image, step: Step
) -> tuple[Denoised, Scalar]:
    """One evaluation of the prior, and the residual of its prediction."""
    denoised = denoise(prior, x_t, step)
    return denoised, measurement_residual(problem, denoised.x0)
