"""The gradient that pulls a sample towards its measurement, and what weighs it.

The gradient is one function, exact and testable; the weight is a choice, another.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from pigdm_jax.operators.base import EXACT, Damping, Operator
from pigdm_jax.prior import Prior
from pigdm_jax.types import Image, Measurement, Number, Scalar

# Of the residual, where the solver inside `moment_guidance` stops.
MOMENT_TOLERANCE = 1e-4


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


class Denoised(NamedTuple):
    """What the prior makes of a noisy sample.

    Attributes:
      x0: the predicted clean image.
      eps: the predicted noise.
      vjp: v -> v^T d x0 / d x_t, one backward pass through the network.
    """

    x0: Image
    eps: Image
    vjp: Callable[[Image], Image]


Guidance = Callable[[Operator, Measurement, Denoised, Step, Number], Image]
"""How the residual of x0 becomes the gradient v^T d x0 / d x_t, with sigma_y^2 last."""


def pseudoinverse_guidance(
    operator: Operator,
    y: Measurement,
    denoised: Denoised,
    step: Step,
    noise_variance: Number,
) -> Image:
    """The paper's, by one vector-Jacobian product."""
    return denoised.vjp(pseudoinverse_pull(operator, y, denoised, step, noise_variance))


def pseudoinverse_pull(
    operator: Operator,
    y: Measurement,
    denoised: Denoised,
    step: Step,
    noise_variance: Number,
) -> Image:
    """V = h+(y) - h+(h(x0)), equations 7 (noisy), 8 and 9 of the paper in one."""
    return pinv_residual(operator, y, denoised.x0, noise_variance / step.r2)


def reconstruction_guidance(
    operator: Operator,
    y: Measurement,
    denoised: Denoised,
    step: Step,
    noise_variance: Number,
) -> Image:
    """By V = H^T (y - H x0), Ho et al. 2022, equation 7."""
    del step, noise_variance
    transpose = jax.linear_transpose(operator.apply, denoised.x0)
    return denoised.vjp(transpose(_residual(operator, y, denoised.x0))[0])


def moment_guidance(
    operator: Operator,
    y: Measurement,
    denoised: Denoised,
    step: Step,
    noise_variance: Number,
    *,
    products: int,
) -> Image:
    """By V = r_t^2 H^T (H C H^T + sigma_y^2 I)^-1 (y - H x0) with C = Cov[x0 | x_t].

    Where the pseudoinverse takes r_t^2 I for the covariance of x0, this takes
    Tweedie's second moment, C = (1 - a_t) / sqrt(a_t) d x0 / d x_t, so that the
    guidance is exact for Gaussian priors. Solved without a matrix by generalised
    conjugate residuals, which bear that a network's Jacobian is not quite symmetric
    nor positive, with the paper's pseudoinverse as preconditioner: the first direction
    is PiGDM's own, given the length that fits. The products that solve the system are
    those that make the gradient, so `products` is all there are.

    Args:
      operator: linear.
      y: what was measured.
      denoised: what the prior makes of x_t.
      step: the numbers of this step.
      noise_variance: sigma_y^2.
      products: vector-Jacobian products at most.

    Reference: Boys et al. 2024 (TMPD); Rozet et al. 2024 (MMPS); the solver is that of
    Eisenstat, Elman and Schultz, 1983.
    """
    # Everything over r_t^2, which keeps the system near 1 at every noise level.
    scale = step.b_t / (jnp.sqrt(step.a_t) * step.r2)
    damping = noise_variance / step.r2
    exact = partial(jnp.matmul, precision=EXACT)
    residual, unravel = ravel_pytree(_residual(operator, y, denoised.x0))

    def add(made: _Krylov) -> _Krylov:
        v = operator.pinv(unravel(made.left), damping)
        pulled = denoised.vjp(v)
        told, spread = (ravel_pytree(operator.apply(x))[0] for x in (v, pulled))
        # Of v = H^T u the system makes H C v and damping u, which is what H v leaves;
        # without damping that is what no image explains.
        left = jnp.where(damping > 0, made.left, told)
        taken = scale * spread + left - told
        shares = exact(made.taken, taken)
        taken -= exact(shares, made.taken)
        pulled -= jnp.tensordot(shares, made.pulled, 1)
        norm = jnp.linalg.norm(taken)
        inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
        taken, pulled = inverse * taken, inverse * pulled
        share = exact(taken, left)
        return _Krylov(
            made.count + 1,
            left - share * taken,
            made.gradient + share * pulled,
            made.taken.at[made.count].set(taken),
            made.pulled.at[made.count].set(pulled),
        )

    made = _Krylov(
        jnp.int32(0),
        residual,
        jnp.zeros_like(denoised.x0),
        jnp.zeros((products, *residual.shape)),
        jnp.zeros((products, *denoised.x0.shape)),
    )
    if products == 1:
        return add(made).gradient
    enough = MOMENT_TOLERANCE * jnp.linalg.norm(residual)
    return jax.lax.while_loop(
        lambda made: (made.count < products) & (jnp.linalg.norm(made.left) > enough),
        add,
        made,
    ).gradient


class _Krylov(NamedTuple):
    """The solution so far.

    Attributes:
      count: of the directions.
      left: what they leave of the residual.
      gradient: of their sum.
      taken: what each takes off, orthonormal.
      pulled: the gradient of each.
    """

    count: Scalar
    left: Array
    gradient: Image
    taken: Array
    pulled: Array


GUIDANCES: dict[str, Guidance] = {
    "pseudoinverse": pseudoinverse_guidance,
    "reconstruction": reconstruction_guidance,
    "calibrated": partial(moment_guidance, products=1),
    "moment": partial(moment_guidance, products=10),
}
# Of these the formulas hold for linear operators alone.
LINEAR_GUIDANCES = ("reconstruction", "calibrated", "moment")


def _residual(operator: Operator, y: Measurement, x: Image) -> Measurement:
    return jax.tree.map(jnp.subtract, y, operator.apply(x))


def pinv_residual(
    operator: Operator, y: Measurement, x: Image, damping: Damping
) -> Image:
    """The image h+(y) - h+(h(x)); the damping is for linear operators."""
    if operator.linear:
        return operator.pinv(_residual(operator, y, x), damping)
    return operator.pinv(y) - operator.pinv(operator.apply(x))


def root_mean_square(y: Measurement) -> Scalar:
    """Root mean square over all entries of all arrays of a measurement."""
    leaves = jax.tree.leaves(y)
    return jnp.sqrt(
        sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    )


def measurement_residual(operator: Operator, y: Measurement, x: Image) -> Scalar:
    """Root mean square of y - h(x), in the measurement's own units."""
    return root_mean_square(_residual(operator, y, x))


def denoise(prior: Prior, x_t: Image, step: Step) -> Denoised:
    """Evaluate the prior once: the clean image that the predicted noise implies."""

    def predict(x: Image) -> tuple[Image, Image]:
        eps = prior(x, step.t)
        return (x - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t), eps

    x0, vjp, eps = jax.vjp(predict, x_t, has_aux=True)
    return Denoised(x0, eps, lambda v: vjp(v)[0])


def guide(
    prior: Prior,
    operator: Operator,
    y: Measurement,
    x_t: Image,
    step: Step,
    noise_variance: Number,
    guidance: Guidance,
    clip: bool = False,
) -> Guided:
    """Evaluate the prior, and pull its prediction towards the measurement.

    Args:
      prior: the diffusion model.
      operator: the measurement.
      y: what was measured.
      x_t: the noisy sample.
      step: the numbers of this step.
      noise_variance: sigma_y^2.
      guidance: how a residual becomes a gradient.
      clip: measure the residual of x0 clipped to [-1, 1]; the clip is outside of the
        gradient, which would vanish where x0 leaves the range.
    """
    denoised = denoise(prior, x_t, step)
    if clip:
        x0 = jnp.clip(denoised.x0, -1, 1)
        eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
        denoised = denoised._replace(x0=x0, eps=eps)
    gradient = guidance(operator, y, denoised, step, noise_variance)
    residual = measurement_residual(operator, y, denoised.x0)
    return Guided(denoised.x0, denoised.eps, gradient, residual)


def project(operator: Operator, y: Measurement, x: Image) -> Image:
    """The image x + h+(y) - h+(h(x)): the nearest to x that measures y, for linear h.

    For quantising operators it moves x into the measured level and keeps its place
    within the level.

    Args:
      operator: the measurement.
      y: a noiseless measurement.
      x: an image.
    """
    return x + pinv_residual(operator, y, x, 0.0)


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


def default_weight(guidance: str) -> str:
    """The weight that suits a guidance."""
    exact = guidance in ("calibrated", "moment")
    return "posterior" if exact else "adaptive"
