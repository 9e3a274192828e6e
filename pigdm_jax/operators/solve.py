"""The pseudoinverse of a linear operator that has no closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pigdm_jax.operators.base import Damping, Image, ImageShape, Measurement

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
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    adjoint = jax.linear_transpose(apply, image)

    def normal(x: Image) -> Image:
        return adjoint(apply(x))[0] + damping * x

    x, _ = jax.scipy.sparse.linalg.cg(
        normal, adjoint(y)[0], tol=TOLERANCE, maxiter=MAX_ITERATIONS
    )
    return x
