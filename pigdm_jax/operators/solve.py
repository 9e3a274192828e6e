"""Pseudoinverses by conjugate gradients, and damping by noise of any covariance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.checks import check_number, given
from pigdm_jax.core.types import Number
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    check_damping,
    check_measurement,
    check_operator,
)

TOLERANCE = 1e-6
MAX_ITERATIONS = 200


def pinv_by_conjugate_gradients(
    apply: Callable[[Image], Measurement],
    image_shape: ImageShape,
    y: Measurement,
    damping: Damping,
    *,
    precondition: Callable[[Image], Image] | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = MAX_ITERATIONS,
) -> Image:
    """(H^T H + damping I)^-1 H^T y, which equals H^T (H H^T + damping I)^-1 y.

    The system over images is consistent for any y. It is solved from x = 0, so the
    solution has no component in the null space of H: without damping it is the
    Moore-Penrose pseudoinverse. H^T is JAX's transpose of `apply`.

    Args:
      apply: H.
      image_shape: (height, width, channels) of the image.
      y: a measurement, as returned by `apply`.
      damping: one number, at least 0.
      precondition: approximately the inverse of H^T H + damping I; symmetric.
      tolerance: of the residual, relative to H^T y.
      iterations: at most so many.

    Raises:
      ValueError: if the damping is an array.
    """
    check_damping(damping)
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    adjoint = jax.linear_transpose(apply, image)

    def normal(x: Image) -> Image:
        return adjoint(apply(x))[0] + damping * x

    return _symmetric_solve(
        normal, adjoint(y)[0], precondition, tolerance=tolerance, iterations=iterations
    )


def _symmetric_solve(
    system: Callable[[Any], Any],
    b: Any,
    precondition: Callable[[Any], Any] | None = None,
    *,
    tolerance: float = TOLERANCE,
    iterations: int = MAX_ITERATIONS,
) -> Any:
    """The x with system(x) = b by conjugate gradients; differentiable by the same.

    b is scaled to a largest entry of 1, since the squares of very small entries, for
    instance of the derivatives of a nearly consistent residual, underflow in float32.
    """

    def solve(system: Callable[[Any], Any], b: Any) -> Any:
        sizes = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(b)]
        size = jnp.max(jnp.stack(sizes))
        size = jnp.where(size > 0, size, 1)
        x, _ = jax.scipy.sparse.linalg.cg(
            system,
            jax.tree.map(lambda leaf: leaf / size, b),
            tol=tolerance,
            maxiter=iterations,
            M=precondition,
        )
        return jax.tree.map(lambda leaf: leaf * size, x)

    return jax.lax.custom_linear_solve(system, b, solve, symmetric=True)


def is_number(noise_std: Any) -> bool:
    """Whether a noise level is one number, not one for every measured value."""
    return jax.tree_util.all_leaves([noise_std]) and jnp.ndim(noise_std) == 0


def damped_pinv(
    operator: Operator, y: Measurement, noise_std: Any, r2: Number
) -> Image:
    """H^T (H H^T + Sigma / r_t^2)^-1 y, where Sigma is the covariance of y's noise.

    Equation 7 of the paper for independent noise of any levels. If H H^T is diagonal
    (`Operator.gram`), this is one division; otherwise the system over measurements is
    solved by conjugate gradients, with JAX's transpose of `apply` as H^T.

    Args:
      operator: h.
      y: a measurement, as returned by `apply`, or the difference of two.
      noise_std: standard deviation of the noise, in units of the [-1, 1] image: one
        number; or one positive number for every value, in the form of y. None or 0
        gives the pseudoinverse, and non-linear operators accept nothing else.
      r2: r_t^2, the variance of an image value around its estimate; above 0.

    Returns:
      An image of the operator's `image_shape`.

    Raises:
      TypeError: if the operator is none.
      ValueError: if y does not have the form of a measurement, or a noise level that of
        a number or of y; if r2 is not positive, or a non-linear operator is given a
        noise level.

    Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023, equation 7.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.identity((8, 8, 3))
      >>> y = jnp.ones((8, 8, 3))
      >>> image = operators.damped_pinv(operator, y, noise_std=1.0, r2=1.0)
      >>> image.shape, float(image.mean())
      ((8, 8, 3), 0.5)
      >>> each = jnp.full((8, 8, 3), 1.0).at[0].set(3.0)
      >>> image = operators.damped_pinv(operator, y, noise_std=each, r2=1.0)
      >>> round(float(image[0].mean()), 6), float(image[1].mean())
      (0.1, 0.5)
    """
    check_operator("operator", operator)
    check_measurement(operator, y)
    if noise_std is None:
        return operator.pinv(y)
    check_number("r2", r2, float(jnp.finfo(jnp.float32).tiny))
    if is_number(noise_std):
        return operator.pinv(y, noise_std**2 / r2)
    if not operator.linear:
        raise ValueError(
            "this operator is not linear, so its pseudoinverse cannot be damped by a "
            "noise level; use None"
        )
    if jax.tree.map(jnp.shape, noise_std) != jax.tree.map(jnp.shape, y):
        raise ValueError(
            "noise_std must be None, one number, or one for every value of y, got "
            f"{given(noise_std)}"
        )
    return _pinv_damped_per_value(
        operator, y, jax.tree.map(lambda std: std**2 / r2, noise_std)
    )


def _pinv_damped_per_value(
    operator: Operator, y: Measurement, damping: Measurement
) -> Image:
    """H^T (H H^T + diag(damping))^-1 y."""
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    adjoint = jax.linear_transpose(operator.apply, image)
    gram = operator.gram
    if gram is not None:
        dual = jax.tree.map(lambda y, g, d: y / (g + d), y, gram, damping)
        return adjoint(dual)[0]

    def system(u: Measurement) -> Measurement:
        gram_u = operator.apply(adjoint(u)[0])
        return jax.tree.map(lambda g, d, u: g + d * u, gram_u, damping, u)

    # The mean of H H^T's diagonal for each array of y, from one random vector.
    leaves, tree = jax.tree.flatten(y)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    signs = [
        jax.random.rademacher(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    signs = jax.tree.unflatten(tree, signs)
    gram_signs = operator.apply(adjoint(signs)[0])
    mean = jax.tree.map(lambda r, g: jnp.abs(jnp.mean(r * g)), signs, gram_signs)

    def precondition(r: Measurement) -> Measurement:
        return jax.tree.map(lambda r, m, d: r / (m + d), r, mean, damping)

    return adjoint(_symmetric_solve(system, y, precondition))[0]
