"""Numerical functions whose derivatives are finite where JAX's are not."""

from typing import Any

import jax
import jax.numpy as jnp


def root(x: Any) -> jax.Array:
    """The square root, 0 for x <= 0, with the derivative 0 there instead of infinity.

    For what vanishes with x: noise that the last step or eta = 1 does not have, or a
    residual that is 0.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
