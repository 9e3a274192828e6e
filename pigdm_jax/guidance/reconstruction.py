"""Reconstruction guidance: the transpose in place of the pseudoinverse."""

import jax

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image
from pigdm_jax.guidance.base import Denoised, WeightedGuidance
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem, difference


@pytree_class
class Reconstruction(WeightedGuidance):
    """Guidance by g = v^T d x0 / d x_t with v = H^T (y - H x0); linear operators.

    Its paper's weight, "vdm", is the default. `data_variance` affects only the weight
    "posterior". For the fields see `WeightedGuidance`.

    Reference: Ho, Salimans, Gritsenko, Chan, Norouzi, Fleet, "Video diffusion models",
    NeurIPS 2022, equation 7.

    Examples:
      >>> import pigdm_jax as pj
      >>> str(pj.guidance.Reconstruction(scale=2.0))
      'reconstruction:scale=2.0'
    """

    weight: str = static_field(default="vdm")

    needs = Needs(linear=True, noise="scalar")

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient g; see `GradientGuidance.gradient`."""
        del step
        transpose = jax.linear_transpose(problem.operator.apply, denoised.x0)
        return denoised.vjp(transpose(difference(problem, denoised.x0))[0])
