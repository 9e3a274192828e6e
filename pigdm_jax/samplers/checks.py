"""Checks of a sampler's fields that its constructor cannot make.

JAX builds samplers whose leaves are tracers or placeholders, so a constructor checks
Python and NumPy numbers alone. These are made once, when a sampler is used.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.arrays import is_real
from pigdm_jax.core.checks import given
from pigdm_jax.core.types import ImageShape
from pigdm_jax.guidance.base import Guidance
from pigdm_jax.samplers.base import Sampler

# Fields that are numbers wherever they occur; see `Spaced` and `GradientGuidance`.
NUMBERS = ("eta", "temperature", "scale", "lam", "data_variance")
PARTS = {"guidance": Guidance, "inner": Sampler}


def check_sampler(sampler: Sampler, image_shape: ImageShape) -> None:
    """Check a sampler's parts and its numbers, on a device or not.

    Args:
      sampler: what to check.
      image_shape: of the images that it is used for; an array in place of a number
        must broadcast to it.

    Raises:
      TypeError: if a part is no guidance or no sampler.
      ValueError: if a number is none, is out of range or does not fit the image.
    """
    _check_part(sampler.name, sampler, image_shape)
    # Constructors check NumPy numbers, and these may come from a device.
    leaves, tree = jax.tree.flatten(sampler)
    where = [
        i
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
    ]
    if where:
        values = jax.device_get([leaves[i] for i in where])
        for i, value in zip(where, values, strict=True):
            leaves[i] = np.asarray(value)
        jax.tree.unflatten(tree, leaves)


def _check_part(name: str, part: Any, image_shape: ImageShape) -> None:
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, field.name)
        kind = PARTS.get(field.name)
        if field.name in NUMBERS:
            _check_number(f"{name}'s {field.name}", value, image_shape)
        if kind is None or (value is None and field.default is None):
            continue
        if not isinstance(value, kind):
            raise TypeError(
                f"{name}'s {field.name} must be a pigdm_jax.{kind.__name__}, got "
                f"{given(value)}"
            )
        _check_part(f"{name}'s {field.name}", value, image_shape)


def _check_number(name: str, value: Any, image_shape: ImageShape) -> None:
    if not is_real(value):
        raise ValueError(f"{name} must be a number, got {given(value)}")
    try:
        fits = np.broadcast_shapes(jnp.shape(value), image_shape) == image_shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} must be one number, got {given(value)}")
