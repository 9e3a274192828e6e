"""Guidance by the prior's own covariance of x0, in place of r_t^2 I.

The formulas are in `pigdm_jax.guidance.krylov`.
"""

from typing import Any

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image
from pigdm_jax.guidance.base import Denoised, GradientGuidance
from pigdm_jax.guidance.krylov import krylov_gradient
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem


class CovarianceGuidance(GradientGuidance):
    """Guidance by the covariance of x0, whose weight is the conditional score's.

    r_t^2 cancels in the weight "posterior", so `data_variance` has no effect.
    """

    needs = Needs(linear=True)
    weight = "posterior"
    data_variance = 1.0


@pytree_class
class Moment(CovarianceGuidance):
    """Guidance by the covariance of x0, solved iteratively; linear operators.

    It replaces r_t^2 I of PiGDM by Tweedie's second moment
    C = Cov[x0 | x_t] = (1 - a_t) / sqrt(a_t) d x0 / d x_t and solves
    (H C H^T + sigma_y^2 I) u = y - H x0 by generalised conjugate residuals. For a
    Gaussian prior this is the exact posterior score.

    Attributes:
      products: largest number of vector-Jacobian products in each step, at least 1.
      scale: at least 0; multiplies the weights k and m.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.

    References: Boys et al. 2024 (TMPD); Rozet et al. 2024 (MMPS).

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDIM(steps=3, guidance=pj.guidance.Moment(products=2))
      >>> pj.restore(prior, problem, jax.random.key(0), sampler).shape
      (4, 4, 1)
    """

    products: int = static_field(default=10)
    scale: Any = 1.0
    clip: bool = static_field(default=False)

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        super().__post_init__()
        check_count("products", self.products)

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient after at most `products` iterations of the solver."""
        return krylov_gradient(problem, denoised, step, self.products)


@pytree_class
class Calibrated(CovarianceGuidance):
    """PiGDM's direction with a step length from the covariance; linear operators.

    This is one iteration of the solver of `Moment`: one vector-Jacobian product in each
    step, as many as `Pseudoinverse` takes.

    Attributes:
      scale: at least 0; multiplies the weights k and m.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.

    Examples:
      >>> import pigdm_jax as pj
      >>> str(pj.guidance.Calibrated(scale=0.5))
      'calibrated:scale=0.5'
    """

    scale: Any = 1.0
    clip: bool = static_field(default=False)

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient after one iteration of the solver."""
        return krylov_gradient(problem, denoised, step, 1)
