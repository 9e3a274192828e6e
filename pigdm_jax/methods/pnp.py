"""Plug-and-play, RED: the prior as a plain denoiser, no noise added.

x <- proximal(D(x; sigma)), sigma falling. At a fixed sigma this is the fixed-point
iteration of RED: it rests where H^T (H x - y) / sigma_y^2 + strength (x - D(x)) = 0.

Reference: Romano, Elad, Milanfar, "The little engine that could: regularization by
denoising", SIAM J. Imaging Sciences 2017, section 4.2; Zhang, Li, Zuo, Zhang, Van Gool,
Timofte, "Plug-and-play image restoration with deep denoiser prior", PAMI 2021,
algorithm 1. `scale` is its lambda over 0.23.
"""

import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, evaluate, proximal, stepped
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey

LAMBDA = 0.23


def begin(problem: Problem, x: Image, first: Step) -> Image:
    """The pseudoinverse; the noisy sample is not used."""
    del x
    operator = problem.operator
    damping = problem.noise_std**2 * first.a_t / first.b_t if operator.linear else 0.0
    return operator.pinv(problem.y, damping)


def step(problem: Problem, x: Image, step: Step, key: PRNGKey) -> Stepped:
    """Denoise, fit."""
    del key
    denoised, residual = evaluate(problem, jnp.sqrt(step.a_t) * x, step)
    strength = LAMBDA * problem.scale * step.a_t / step.b_t
    fitted = proximal(problem, denoised.x0, strength)
    return stepped(fitted, denoised.x0, residual, fitted)


PNP = Method(step, begin, eta=None, start=0.15)
