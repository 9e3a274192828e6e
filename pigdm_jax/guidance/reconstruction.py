"""Reconstruction guidance: the transpose in the place of the pseudoinverse.

Reference: Ho, Salimans, Gritsenko, Chan, Norouzi, Fleet, "Video diffusion models",
NeurIPS 2022, equation 7.
"""

from typing import Any

import jax

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image
from pigdm_jax.guidance.base import Denoised, GradientGuidance
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem, difference


@pytree_class
class Reconstruction(GradientGuidance):
    """Guidance by H^T (y - H x0); linear operators.

    Attributes:
      weight: "vdm" (its paper's), "adaptive", "algorithm1" or "posterior".
      scale: multiplies the weight; w_r of "vdm".
      data_variance: d in r_t^2, which only the weight "posterior" has.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    weight: str = static_field(default="vdm")
    scale: Any = 1.0
    data_variance: Any = 1.0
    clip: bool = static_field(default=False)

    needs = Needs(linear=True, noise="scalar")

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The vector-Jacobian product of v = H^T (y - H x0)."""
        del step
        transpose = jax.linear_transpose(problem.operator.apply, denoised.x0)
        return denoised.vjp(transpose(difference(problem, denoised.x0))[0])
