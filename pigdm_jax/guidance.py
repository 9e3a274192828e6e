"""The gradient that pulls a sample towards its measurement, and what weighs it.

The gradient is one function, exact and testable; the weight is a choice, another.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.operators.base import Damping, Operator
from pigdm_jax.prior import Prior
from pigdm_jax.types import Image, Measurement, Scalar


class Step(NamedTuple):
    """The numbers of one step t -> s; `b` stands for 1 - alpha_bar, kept exact.

    Attributes:
      t: the network's step.
      a_t, b_t: alpha_bar and 1 - alpha_bar at t.
      a_s, b_s: the same at s; 1 and 0 in the last step.
      c1, c2: how much fresh noise and how much eps DDIM puts back.
      r2: r_t^2, the variance given to x0 around its prediction.
    """

    t: Scalar
    a_t: Scalar
    b_t: Scalar
    a_s: Scalar
    b_s: Scalar
    c1: Scalar
    c2: Scalar
    r2: Scalar


class Guided(NamedTuple):
    """What one evaluation of prior and operator gives.

    Attributes:
      x0: the predicted clean image.
      eps: the predicted noise.
      gradient: v^T d x0 / d x_t, which holds the factor r_t^2 of equation 10.
      residual: root mean square of y - h(x0).
    """

    x0: Image
    eps: Image
    gradient: Image
    residual: Scalar


Pull = Callable[[Operator, Measurement, Image, Damping], Image]


def pseudoinverse_pull(
    operator: Operator, y: Measurement, x0: Image, damping: Damping
) -> Image:
    """V = h+(y) - h+(h(x0)), equations 7 (noisy), 8 and 9 of the paper in one."""
    if operator.linear:
        return operator.pinv(jax.tree.map(jnp.subtract, y, operator.apply(x0)), damping)
    return operator.pinv(y) - operator.pinv(operator.apply(x0))


def transpose_pull(
    operator: Operator, y: Measurement, x0: Image, damping: Damping
) -> Image:
    """V = H^T (y - H x0): reconstruction guidance (Ho et al. 2022, equation 7)."""
    del damping
    difference = jax.tree.map(jnp.subtract, y, operator.apply(x0))
    return jax.linear_transpose(operator.apply, x0)(difference)[0]


PULLS: dict[str, Pull] = {
    "pseudoinverse": pseudoinverse_pull,
    "reconstruction": transpose_pull,
}


def root_mean_square(y: Measurement) -> Scalar:
    """Root mean square over all entries of all arrays of a measurement."""
    leaves = jax.tree.leaves(y)
    return jnp.sqrt(
        sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    )


def measurement_residual(operator: Operator, y: Measurement, x: Image) -> Scalar:
    """Root mean square of y - h(x), in the measurement's own units."""
    return root_mean_square(jax.tree.map(jnp.subtract, y, operator.apply(x)))


def denoise(prior: Prior, x_t: Image, step: Step) -> tuple[Image, Image]:
    """(x0, eps): the clean image that the predicted noise implies, and the noise."""
    eps = prior(x_t, step.t)
    return (x_t - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t), eps


def guide(
    prior: Prior,
    operator: Operator,
    y: Measurement,
    x_t: Image,
    step: Step,
    damping: Damping,
    pull: Pull,
    clip: bool = False,
) -> Guided:
    """Evaluate the prior once, and its vector-Jacobian product once.

    Args:
      prior: the diffusion model.
      operator: the measurement.
      y: what was measured.
      x_t: the noisy sample.
      step: the numbers of this step.
      damping: sigma_y^2 / r_t^2.
      pull: how a residual becomes an image.
      clip: measure the residual of x0 clipped to [-1, 1]; the clip is outside of the
        gradient, which would vanish where x0 leaves the range.
    """
    x0, vjp, eps = jax.vjp(lambda x: denoise(prior, x, step), x_t, has_aux=True)
    if clip:
        x0 = jnp.clip(x0, -1, 1)
        eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    (gradient,) = vjp(pull(operator, y, x0, damping))
    return Guided(x0, eps, gradient, measurement_residual(operator, y, x0))


def project(operator: Operator, y: Measurement, x: Image) -> Image:
    """The image x + h+(y) - h+(h(x)): the nearest to x that measures y, for linear h.

    For quantising operators it moves x into the measured level and keeps its place
    within the level.

    Args:
      operator: the measurement.
      y: a noiseless measurement.
      x: an image.
    """
    return x + pseudoinverse_pull(operator, y, x, 0.0)


Weight = Callable[[Step, Scalar], Scalar]


def adaptive_weight(step: Step, scale: Scalar) -> Scalar:
    """sqrt(a_t a_s): equation 10 carried from VE to VP."""
    return scale * jnp.sqrt(step.a_t * step.a_s)


def algorithm1_weight(step: Step, scale: Scalar) -> Scalar:
    """sqrt(a_t), as Algorithm 1 prints it; equation 10 has sqrt(a_s) too."""
    return scale * jnp.sqrt(step.a_t)


def vdm_weight(step: Step, scale: Scalar) -> Scalar:
    """w_r sqrt(a_t) (sqrt(a_s) - c2 sqrt(a_t / (1 - a_t))), Ho et al. 2022."""
    shift = jnp.sqrt(step.a_s) - step.c2 * jnp.sqrt(step.a_t / step.b_t)
    return scale * jnp.sqrt(step.a_t) * shift


def posterior_weight(step: Step, scale: Scalar) -> Scalar:
    """sqrt(a_s / a_t) - c2 / sqrt(1 - a_t): the conditional score put through DDIM.

    The score's correction is g / r_t^2, so the weight carries (1 - a_t) / r_t^2,
    which is 1 at the default data variance.
    """
    ddim = jnp.sqrt(step.a_s / step.a_t) - step.c2 / jnp.sqrt(step.b_t)
    return scale * (step.b_t / step.r2) * ddim


WEIGHTS: dict[str, Weight] = {
    "adaptive": adaptive_weight,
    "algorithm1": algorithm1_weight,
    "vdm": vdm_weight,
    "posterior": posterior_weight,
}
