"""The paper's guidance: the residual is pulled back through the pseudoinverse.

Reference: Song, Vahdat, Mardani, Kautz, "Pseudoinverse-guided diffusion models for
inverse problems", ICLR 2023, equations 7 to 10.
"""

from typing import Any

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, Number
from pigdm_jax.guidance.base import Denoised, GradientGuidance
from pigdm_jax.priors.schedule import Step, r2
from pigdm_jax.problem import Problem, pinv_residual


@pytree_class
class Pseudoinverse(GradientGuidance):
    """PiGDM's guidance, by one vector-Jacobian product; any operator.

    Attributes:
      weight: "adaptive" (the paper's), "algorithm1", "vdm" or "posterior".
      scale: multiplies the weight; w_r of "vdm".
      data_variance: d in r_t^2 = sigma_t^2 d / (sigma_t^2 + d).
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    weight: str = static_field(default="adaptive")
    scale: Any = 1.0
    data_variance: Any = 1.0
    clip: bool = static_field(default=False)

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The vector-Jacobian product of v = h+(y) - h+(h(x0))."""
        return denoised.vjp(pull(problem, denoised.x0, step, self.data_variance))


def pull(problem: Problem, x0: Image, step: Step, data_variance: Number = 1.0) -> Image:
    """The pull v = h+(y) - h+(h(x0)), equations 7 (noisy), 8 and 9 in one."""
    return pinv_residual(problem, x0, r2(step, data_variance))
