"""Generalised conjugate residuals for guidance by the prior's own covariance.

Tweedie's second moment is C = Cov[x0 | x_t] = (1 - a_t) / sqrt(a_t) d x0 / d x_t, so
guidance by

    v = H^T u,  A u = y - H x0,  A = (H C H^T + sigma_y^2 I) / r_t^2

is exact for Gaussian priors. Only vector-Jacobian products with C are available, and a
network's Jacobian is neither exactly symmetric nor positive definite. The system is
therefore solved by generalised conjugate residuals (GCR), preconditioned by the paper's
pseudoinverse:

    r_0 = y - H x0
    p = M r,  M = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1
    beta_i = <A p_i, A p>,  A p <- A p - sum_i beta_i A p_i,  A p <- A p / ||A p||
    alpha = <A p, r>,  r <- r - alpha A p

where A p stands for A u with p = H^T u. The gradient is g = sum_i alpha_i J^T p_i, with
J = d x0 / d x_t. The solver computes the same vector-Jacobian products J^T p, so
`products` bounds all of them.

Reference: Eisenstat, Elman, Schultz, "Variational iterative methods for nonsymmetric
systems of linear equations", SIAM J. Numerical Analysis 1983; the covariance: Boys et
al. 2024 (TMPD), Rozet et al. 2024 (MMPS).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from pigdm_jax.core.numerics import root
from pigdm_jax.core.types import Image, Measurement, Scalar
from pigdm_jax.guidance.base import Denoised
from pigdm_jax.operators.base import EXACT
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.priors.schedule import Step, r2
from pigdm_jax.problem import Problem, difference

# The solver stops at this norm of the residual, relative to the first one.
TOLERANCE = 1e-4


class _State(NamedTuple):
    """The state of the solver after some iterations.

    Attributes:
      index: number of iterations.
      r: the residual, flat.
      gradient: the sum of alpha J^T p, an image.
      Ap: A p of each direction p, orthonormal, (products, size of y).
      Jp: J^T p of each direction p, (products, H, W, C).
    """

    index: Scalar  # type: ignore[assignment]
    r: Array
    gradient: Image
    Ap: Array
    Jp: Array


def krylov_gradient(
    problem: Problem, denoised: Denoised, step: Step, products: int
) -> Image:
    """The gradient g = J^T v after at most `products` iterations.

    Args:
      problem: a measurement by a linear operator.
      denoised: the prior's prediction, with its vector-Jacobian product.
      step: the coefficients of this step.
      products: number of iterations, each with one vector-Jacobian product.

    Returns:
      An image, (H, W, C).
    """
    residual, unravel = ravel_pytree(difference(problem, denoised.x0))
    iterate = partial(_iterate, problem, denoised, step, unravel)
    start = _State(
        jnp.int32(0),
        residual,
        jnp.zeros_like(denoised.x0),
        jnp.zeros((products, *residual.shape), jnp.float32),
        jnp.zeros((products, *denoised.x0.shape), jnp.float32),
    )
    if products == 1:
        return iterate(start).gradient
    enough = TOLERANCE**2 * jnp.sum(residual**2)

    # A loop of fixed length can be differentiated in reverse mode, a `while_loop` not.
    def improve(state: _State, _: None) -> tuple[_State, None]:
        unsolved = jnp.sum(state.r**2) > enough
        return jax.lax.cond(unsolved, iterate, lambda s: s, state), None

    return jax.lax.scan(improve, start, None, products)[0].gradient


def _iterate(
    problem: Problem,
    denoised: Denoised,
    step: Step,
    unravel: Callable[[Array], Measurement],
    state: _State,
) -> _State:
    """One iteration of GCR; `unravel` gives a flat residual the measurement's form."""
    operator, data_variance = problem.operator, r2(step)
    # The whole system is divided by r_t^2, so that A is near 1 at every noise level.
    scale = step.b_t / (jnp.sqrt(step.a_t) * data_variance)
    noisy = problem.noise_per_value or problem.sigma > 0
    exact = partial(jnp.matmul, precision=EXACT)
    p = damped_pinv(operator, unravel(state.r), problem.noise_std, data_variance)
    Jp = denoised.vjp(p)
    Hp, HJp = (ravel_pytree(operator.apply(x))[0] for x in (p, Jp))
    # For p = H^T u, A u = H C p / r_t^2 + (sigma_y / r_t)^2 u, and the second term is
    # r - H p. Without noise it is the part of r outside the range of H: no image can
    # reduce it, so it is dropped.
    r = state.r if noisy is True else jnp.where(noisy, state.r, Hp)
    Ap = scale * HJp + r - Hp
    beta = exact(state.Ap, Ap)
    Ap -= exact(beta, state.Ap)
    Jp -= jnp.tensordot(beta, state.Jp, 1)
    norm = root(jnp.sum(Ap**2))
    inverse = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    Ap, Jp = inverse * Ap, inverse * Jp
    alpha = exact(Ap, r)
    return _State(
        state.index + 1,
        r - alpha * Ap,
        state.gradient + alpha * Jp,
        state.Ap.at[state.index].set(Ap),
        state.Jp.at[state.index].set(Jp),
    )
