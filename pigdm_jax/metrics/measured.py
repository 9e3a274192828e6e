"""How well a restoration agrees with what was measured of its reference."""

import functools
from typing import Any

from pigdm_jax import operators
from pigdm_jax.core.types import Image, ImageShape
from pigdm_jax.metrics.base import ImageMetric
from pigdm_jax.operators.parsing import parse_stages
from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.pictures.results import mismatch
from pigdm_jax.problem import Problem


@functools.cache
def consistency(task: str) -> ImageMetric:
    """The difference between measurements of an image and of its reference.

    For linear operators the root mean square, on a scale from 0 to 1; for others the
    fraction of measured values that differ. It is 0 for all images that a noiseless
    measurement cannot tell from the reference.

    Args:
      task: what was measured, as `pigdm_jax.operators.parse` takes it.

    Raises:
      ValueError: if it names no operators; when it is used, if they do not suit a
        picture's size.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax.metrics import consistency
      >>> metric = consistency("super_resolution:2,box")
      >>> checkerboard = jnp.indices((8, 8)).sum(0)[..., None] % 2 * 2.0 - 1
      >>> float(metric(checkerboard, jnp.zeros((8, 8, 1))))
      0.0
    """
    parse_stages(task, REGISTRY)

    def difference(image: Image, reference: Image) -> Any:
        operator = operators.parse(task, image.shape)
        return mismatch(Problem(operator, operator.apply(reference)), image)

    def check(image_shape: ImageShape) -> None:
        operators.parse(task, image_shape)

    return ImageMetric(
        *("consistency", f"Consistency with {task}", "lower"),
        digits=4,
        function=difference,
        check=check,
    )
