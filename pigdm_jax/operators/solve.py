"""Pseudoinverses that have no closed form, and noise of its own for every value."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import Number
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    check_damping,
)

TOLERANCE = 1e-6
MAX_ITERATIONS = 200


def pinv_by_conjugate_gradients(
    apply: Callable[[Image], Measurement],
    image_shape: ImageShape,
    y: Measurement,
    damping: Damping,
) -> Image:
    """(H^T H + damping I)^-1 H^T y, which equals H^T (H H^T + damping I)^-1 y.

    Solved over images, where the system is consistent whatever y is, from zero, so
    that without damping the answer has no part in the null space of H: the
    Moore-Penrose pseudoinverse. The adjoint is JAX's transpose of `apply`.
    """
    check_damping(damping)
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    adjoint = jax.linear_transpose(apply, image)

    def normal(x: Image) -> Image:
        return adjoint(apply(x))[0] + damping * x

    return _symmetric_solve(normal, adjoint(y)[0])


def _symmetric_solve(
    system: Callable[[Any], Any],
    b: Any,
    precondition: Callable[[Any], Any] | None = None,
) -> Any:
    """The x with system(x) = b by conjugate gradients, and so for its derivatives.

    b is brought to size 1 first: squares of very small numbers, as the derivatives of
    what already agrees are, would vanish in float32.
    """

    def solve(system: Callable[[Any], Any], b: Any) -> Any:
        sizes = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(b)]
        size = jnp.max(jnp.stack(sizes))
        size = jnp.where(size > 0, size, 1)
        x, _ = jax.scipy.sparse.linalg.cg(
            system,
            jax.tree.map(lambda leaf: leaf / size, b),
            tol=TOLERANCE,
            maxiter=MAX_ITERATIONS,
            M=precondition,
        )
        return jax.tree.map(lambda leaf: leaf * size, x)

    return jax.lax.custom_linear_solve(system, b, solve, symmetric=True)


def is_number(noise_std: Any) -> bool:
    """Whether a noise level is one number, and not a value for every measurement."""
    return jax.tree_util.all_leaves([noise_std]) and jnp.ndim(noise_std) == 0


def damped_pinv(
    operator: Operator, y: Measurement, noise_std: Any, r2: Number
) -> Image:
    """H^T (H H^T + Sigma / r_t^2)^-1 y, Sigma the covariance of the noise in y.

    It is the pull of equation 7 of the paper for any noise. Where H H^T is diagonal
    (`Operator.gram`) it costs a division; elsewhere the system is solved over
    measurements by conjugate gradients, with JAX's transpose of `apply`.

    Args:
      operator: h. A non-linear one takes None or 0 as noise level.
      y: a measurement, as `apply` gives it, or a difference of two.
      noise_std: None or 0 for none, which gives the pseudoinverse; a number; or, in y's
        form, a positive standard deviation for every value.
      r2: r_t^2, the variance of what is measured.

    Raises:
      ValueError: if a non-linear operator is given a noise level.

    Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023, equation 7.
    """
    if noise_std is None:
        return operator.pinv(y)
    if is_number(noise_std):
        return operator.pinv(y, noise_std**2 / r2)
    if not operator.linear:
        raise ValueError(
            "this operator is not linear, so its pseudoinverse cannot be damped by a "
            "noise level; use None"
        )
    damping = jax.tree.map(lambda std: std**2 / r2, noise_std)
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    adjoint = jax.linear_transpose(operator.apply, image)
    gram = operator.gram
    if gram is not None:
        dual = jax.tree.map(lambda y, g, d: y / (g + d), y, gram, damping)
        return adjoint(dual)[0]

    def system(u: Measurement) -> Measurement:
        seen = operator.apply(adjoint(u)[0])
        return jax.tree.map(lambda s, d, u: s + d * u, seen, damping, u)

    def precondition(r: Measurement) -> Measurement:
        return jax.tree.map(lambda r, d: r / (1 + d), r, damping)

    return adjoint(_symmetric_solve(system, y, precondition))[0]
