"""Numerical functions whose derivatives are finite where JAX's are not."""

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import AnyArray, Number


def root(x: AnyArray | Number) -> jax.Array:
    """The square root; both it and its derivative are 0 for x <= 0.

    JAX's derivative at 0 is infinite, and its product with a zero cotangent NaN. That
    happens for noise variances that are 0 at the last step or where eta = 1, and for
    residuals of 0.

    Args:
      x: any real array.

    Returns:
      An array of x's shape.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
