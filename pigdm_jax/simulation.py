"""Simulated measurements of clean images."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.arrays import check_image, check_key, is_real
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.operators.base import Operator, check_operator
from pigdm_jax.problem import Problem, check_problem


def measure(
    operator: Operator,
    x: Image,
    key: PRNGKey | None = None,
    *,
    noise_std: Any = None,
) -> Problem:
    """Simulate the measurement of a clean image.

    Args:
      operator: h.
      x: the image, (height, width, channels) in [-1, 1].
      key: a `jax.random` key for the noise; required if noise_std is
        given or `operators.noise` is part of the operator.
      noise_std: standard deviation of the Gaussian noise that is added to the
        measurement, as for `Problem`; None for an exact measurement.

    Returns:
      The problem of restoring x.

    Raises:
      TypeError: if the operator is no `Operator`, or the key no key.
      ValueError: if x does not have the operator's image shape, is not finite or has
        8-bit pixels, or noise_std is given without a key or for a non-linear operator,
        or is out of range.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import measure, operators
      >>> operator = operators.grayscale((8, 8, 3))
      >>> problem = measure(operator, jnp.zeros((8, 8, 3)))
      >>> problem.y.shape, problem.noise_std
      ((8, 8, 1), None)
      >>> key = jax.random.key(0)
      >>> noisy = measure(operator, jnp.zeros((8, 8, 3)), key, noise_std=1.0)
      >>> 0.7 < float(noisy.y.std()) < 1.3
      True
    """
    check_operator("operator", operator)
    if is_real(x) and np.shape(x) != operator.image_shape:
        raise ValueError(
            f"the image has shape {np.shape(x)}, the operator's images are "
            f"{operator.image_shape}"
        )
    check_image("the image x", x)
    x = jnp.asarray(x, jnp.float32)
    if noise_std is None and not operator.draws:
        return Problem(operator, operator.apply(x))
    if key is None:
        raise ValueError("a measurement with noise needs a key; pass key=...")
    check_key("key", key)
    y = operator.draw(x, key) if operator.draws else operator.apply(x)
    if noise_std is None:
        return Problem(operator, y)
    problem = Problem(operator, y, noise_std)
    check_problem(problem)
    leaves, tree = jax.tree.flatten(y)
    keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]
    levels = jax.tree.leaves(noise_std)
    if not problem.noise_per_value:
        levels *= len(leaves)
    noisy = [
        leaf + level * jax.random.normal(k, leaf.shape, leaf.dtype)
        for k, leaf, level in zip(keys, leaves, levels, strict=True)
    ]
    return dataclasses.replace(problem, y=jax.tree.unflatten(tree, noisy))
