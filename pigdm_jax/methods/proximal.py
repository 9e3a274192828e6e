"""The image near a prediction that fits the measurement, shared by two methods."""

from pigdm_jax.guidance import measurement_difference, project
from pigdm_jax.methods.base import Problem
from pigdm_jax.types import Image, Scalar


def proximal(problem: Problem, x0: Image, strength: Scalar) -> Image:
    """argmin_x ||y - H x||^2 + sigma_y^2 strength ||x - x0||^2.

    That is x0 + H^T (H H^T + sigma_y^2 strength I)^-1 (y - H x0); for a non-linear
    operator, which has no noise, the projection x0 + h+(y) - h+(h(x0)).
    """
    operator = problem.operator
    if not operator.linear:
        return project(operator, problem.y, x0)
    damping = problem.noise_std**2 * strength
    return x0 + operator.pinv(measurement_difference(operator, problem.y, x0), damping)
