"""Guidance by the prior's own covariance of x0, in the place of r_t^2 I.

The formulas are in `pigdm_jax.guidance.krylov`.

Reference: Boys et al. 2024 (TMPD); Rozet et al. 2024 (MMPS).
"""

from typing import Any

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image
from pigdm_jax.guidance.base import Denoised, GradientGuidance
from pigdm_jax.guidance.krylov import krylov_gradient
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem

# Of the residual, where the solver stops.
TOLERANCE = 1e-4


@pytree_class
class Moment(GradientGuidance):
    """Guidance by the prior's covariance of x0, solved iteratively; linear operators.

    Its weight is "posterior", in which r_t^2 cancels.

    Attributes:
      products: vector-Jacobian products in each step, at most.
      scale: multiplies the weight.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    products: int = static_field(default=10)
    scale: Any = 1.0
    clip: bool = static_field(default=False)

    needs = Needs(linear=True)
    weight = "posterior"
    data_variance = 1.0

    def __post_init__(self) -> None:
        """Refuse what is known to make no sense."""
        super().__post_init__()
        check_count("products", self.products)

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient after `products` solver iterations."""
        return krylov_gradient(problem, denoised, step, self.products)


@pytree_class
class Calibrated(GradientGuidance):
    """PiGDM's direction with a step length from the covariance; linear operators.

    One solver iteration of `Moment`: one vector-Jacobian product a step in all, as many
    as `Pseudoinverse` needs.

    Attributes:
      scale: multiplies the weight.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    scale: Any = 1.0
    clip: bool = static_field(default=False)

    needs = Needs(linear=True)
    weight = "posterior"
    data_variance = 1.0

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient after one solver iteration."""
        return krylov_gradient(problem, denoised, step, 1)
