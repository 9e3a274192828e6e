"""Guidance by the network's own covariance of x0, in the place of r_t^2 I.

Tweedie's second moment is C = Cov[x0 | x_t] = (1 - a_t) / sqrt(a_t) d x0 / d x_t, so
that guidance by V = r_t^2 H^T (H C H^T + sigma_y^2 I)^-1 (y - H x0) is exact for
Gaussian priors. The system is solved by generalised conjugate residuals, which bear
that a network's Jacobian is neither quite symmetric nor positive, with the paper's
pseudoinverse as preconditioner. The products that solve it are those that make the
gradient, so `products` vector-Jacobian products are all there are.

Reference: Boys et al. 2024 (TMPD); Rozet et al. 2024 (MMPS); the solver is that of
Eisenstat, Elman and Schultz, SIAM J. Numerical Analysis 1983.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from pigdm_jax.checks import check_count
from pigdm_jax.guidance.base import Denoised, GradientGuidance
from pigdm_jax.numerics import root
from pigdm_jax.operators.base import EXACT
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.problem import Needs, Problem, difference
from pigdm_jax.pytree import pytree_class, static_field
from pigdm_jax.schedule import Step, r2
from pigdm_jax.types import Image, Scalar

# Of the residual, where the solver stops.
TOLERANCE = 1e-4


@pytree_class
class Moment(GradientGuidance):
    """Guidance by the network's covariance of x0; linear operators.

    Its weight is "posterior", in which r_t^2 cancels.

    Attributes:
      products: vector-Jacobian products a step, at most.
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
        """The sum of the gradients of the solver's directions."""
        return krylov_gradient(problem, denoised, step, self.products)


@pytree_class
class Calibrated(GradientGuidance):
    """The pseudoinverse's direction, as long as moment tells; linear operators.

    It is the first step of `Moment`, and costs what `Pseudoinverse` does.

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
        """The gradient of the solver's first direction."""
        return krylov_gradient(problem, denoised, step, 1)


class _Krylov(NamedTuple):
    """The solution so far.

    Attributes:
      count: of the directions.
      r: the residual that they leave.
      gradient: the sum of the directions' gradients, times their coefficients.
      Ap: what the system makes of each direction p, orthonormal.
      Jp: the gradient of each direction.
    """

    count: Scalar
    r: Array
    gradient: Image
    Ap: Array
    Jp: Array


def krylov_gradient(
    problem: Problem, denoised: Denoised, step: Step, products: int
) -> Image:
    """The gradient of V, by at most `products` generalised conjugate residuals.

    Each iteration has a new direction p = M r with the preconditioner
    M = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1, and makes A p orthogonal to those before:

        A p <- A p - sum_i beta_i A p_i,  beta_i = <A p_i, A p>;  A p <- A p / ||A p||
        alpha = <A p, r>;  r <- r - alpha A p.
    """
    operator, data_variance = problem.operator, r2(step)
    # Everything over r_t^2, which keeps the system near 1 at every noise level.
    scale = step.b_t / (jnp.sqrt(step.a_t) * data_variance)
    noisy = problem.noise_per_value or problem.sigma > 0
    exact = partial(jnp.matmul, precision=EXACT)
    residual, unravel = ravel_pytree(difference(problem, denoised.x0))

    def iterate(solution: _Krylov) -> _Krylov:
        p = damped_pinv(operator, unravel(solution.r), problem.noise_std, data_variance)
        Jp = denoised.vjp(p)
        Hp, HJp = (ravel_pytree(operator.apply(x))[0] for x in (p, Jp))
        # With p = H^T u the system makes H C p + sigma_y^2 / r_t^2 u, which is
        # H C p + r - H p. Without noise r - H p is what no image explains.
        r = solution.r if noisy is True else jnp.where(noisy, solution.r, Hp)
        Ap = scale * HJp + r - Hp
        beta = exact(solution.Ap, Ap)
        Ap -= exact(beta, solution.Ap)
        Jp -= jnp.tensordot(beta, solution.Jp, 1)
        norm = root(jnp.sum(Ap**2))
        inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
        Ap, Jp = inverse * Ap, inverse * Jp
        alpha = exact(Ap, r)
        return _Krylov(
            solution.count + 1,
            r - alpha * Ap,
            solution.gradient + alpha * Jp,
            solution.Ap.at[solution.count].set(Ap),
            solution.Jp.at[solution.count].set(Jp),
        )

    start = _Krylov(
        jnp.int32(0),
        residual,
        jnp.zeros_like(denoised.x0),
        jnp.zeros((products, *residual.shape)),
        jnp.zeros((products, *denoised.x0.shape)),
    )
    if products == 1:
        return iterate(start).gradient
    enough = TOLERANCE**2 * jnp.sum(residual**2)

    # A loop of fixed length has a gradient of its own, a `while_loop` has none.
    def improve(solution: _Krylov, _: None) -> tuple[_Krylov, None]:
        unsolved = jnp.sum(solution.r**2) > enough
        return jax.lax.cond(unsolved, iterate, lambda s: s, solution), None

    return jax.lax.scan(improve, start, None, products)[0].gradient
