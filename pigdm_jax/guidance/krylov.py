"""Generalised conjugate residuals for guidance by the prior's own covariance.

Tweedie's second moment is C = Cov[x0 | x_t] = (1 - a_t) / sqrt(a_t) d x0 / d x_t, so
guidance by

    v = H^T u,  A u = y - H x0,  A = (H C H^T + sigma_y^2 I) / r_t^2

is exact for Gaussian priors. C is only available as a vector-Jacobian product, and a
network's Jacobian is neither exactly symmetric nor positive, so the system is solved by
generalised conjugate residuals (GCR), preconditioned by the paper's pseudoinverse:

    r_0 = y - H x0
    p = M r,  M = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1
    beta_i = <A p_i, A p>,  A p <- A p - sum_i beta_i A p_i,  A p <- A p / ||A p||
    alpha = <A p, r>,  r <- r - alpha A p

(A p is short for A u, where p = H^T u.) The gradient g = sum alpha J^T p needs the same
vector-Jacobian products J^T p as the system, so `products` bounds them all.

Reference: Eisenstat, Elman, Schultz, "Variational iterative methods for nonsymmetric
systems of linear equations", SIAM J. Numerical Analysis 1983; the covariance: Boys et
al. 2024 (TMPD), Rozet et al. 2024 (MMPS).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from pigdm_jax.core.numerics import root
from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.guidance.base import Denoised
from pigdm_jax.operators.base import EXACT
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.priors.schedule import Step, r2
from pigdm_jax.problem import Problem, difference

# Relative size of the residual at which the solver stops.
TOLERANCE = 1e-4


class _State(NamedTuple):
    """The state of the solver.

    Attributes:
      count: number of directions.
      r: the residual.
      gradient: the sum of alpha J^T p.
      Ap: A p for each direction p, orthonormal.
      Jp: J^T p for each direction p.
    """

    count: Scalar  # type: ignore[assignment]  # not tuple.count
    r: Array
    gradient: Image
    Ap: Array
    Jp: Array


def krylov_gradient(
    problem: Problem, denoised: Denoised, step: Step, products: int
) -> Image:
    """The gradient J^T v after at most `products` iterations.

    Args:
      problem: a linear one.
      denoised: the prior's prediction, with its vector-Jacobian product.
      step: the numbers of this step.
      products: iterations, each with one vector-Jacobian product.
    """
    operator, data_variance = problem.operator, r2(step)
    # Everything over r_t^2, which keeps the system near 1 at every noise level.
    scale = step.b_t / (jnp.sqrt(step.a_t) * data_variance)
    noisy = problem.noise_per_value or problem.sigma > 0
    exact = partial(jnp.matmul, precision=EXACT)
    residual, unravel = ravel_pytree(difference(problem, denoised.x0))

    def iterate(solution: _State) -> _State:
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
        return _State(
            solution.count + 1,
            r - alpha * Ap,
            solution.gradient + alpha * Jp,
            solution.Ap.at[solution.count].set(Ap),
            solution.Jp.at[solution.count].set(Jp),
        )

    start = _State(
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
    def improve(solution: _State, _: None) -> tuple[_State, None]:
        unsolved = jnp.sum(solution.r**2) > enough
        return jax.lax.cond(unsolved, iterate, lambda s: s, solution), None

    return jax.lax.scan(improve, start, None, products)[0].gradient
