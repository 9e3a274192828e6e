"""The paper's guidance: the residual is pulled back through the pseudoinverse."""

from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image, Number
from pigdm_jax.guidance.base import Denoised, WeightedGuidance
from pigdm_jax.priors.schedule import Step, r2
from pigdm_jax.problem import Problem, pinv_residual


@pytree_class
class Pseudoinverse(WeightedGuidance):
    """PiGDM's guidance, g = v^T d x0 / d x_t with v = h+(y) - h+(h(x0)).

    For a linear operator and noise sigma_y the pseudoinverse is damped:
    v = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1 (y - H x0). It takes one vector-Jacobian
    product in each step, and any operator. For the fields see `WeightedGuidance`.

    Reference: Song, Vahdat, Mardani, Kautz, "Pseudoinverse-guided diffusion models for
    inverse problems", ICLR 2023, equations 7 to 10.

    Examples:
      >>> import pigdm_jax as pj
      >>> guidance = pj.guidance.Pseudoinverse(weight="posterior")
      >>> str(pj.samplers.DDIM(steps=20, guidance=guidance))
      'ddim:steps=20,guidance=(pseudoinverse:weight=posterior)'
    """

    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient g; see `GradientGuidance.gradient`."""
        return denoised.vjp(pull(problem, denoised.x0, step, self.data_variance))


def pull(problem: Problem, x0: Image, step: Step, data_variance: Number = 1.0) -> Image:
    """The image v = h+(y) - h+(h(x0)): equations 7 (noisy), 8 and 9 in one.

    Args:
      problem: the measurement.
      x0: the predicted clean image, (H, W, C).
      step: the coefficients of this step.
      data_variance: d in r_t^2, which damps the pseudoinverse.
    """
    return pinv_residual(problem, x0, r2(step, data_variance))
