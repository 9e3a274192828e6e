"""Operators as dense matrices in float64: the oracle for every linear one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def dense(operator) -> np.ndarray:
    """The matrix of a linear operator, from the images of unit vectors."""
    n = int(np.prod(operator.image_shape))
    units = jnp.eye(n).reshape(n, *operator.image_shape)
    columns = _measure_each(operator, units)
    return np.asarray(columns, np.float64).reshape(n, -1).T


@jax.jit
def _measure_each(operator, images):
    return jax.vmap(lambda x: ravel_pytree(operator.apply(x))[0])(images)


def tikhonov(matrix: np.ndarray, damping: float) -> np.ndarray:
    """H^T (H H^T + damping I)^-1."""
    square = matrix @ matrix.T + damping * np.eye(len(matrix))
    return np.linalg.solve(square, matrix).T
