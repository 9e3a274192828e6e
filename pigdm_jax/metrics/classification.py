"""How often a classifier recognises what is in a picture."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import Scalar
from pigdm_jax.metrics.base import ImageMetric


def top(count: int, logits: Float[Array, " classes"], label: Int[Array, ""]) -> Scalar:
    """100 if the label is among the most probable classes, else 0; in percent.

    Args:
      count: number of classes that may be the label.
      logits: of the classes.
      label: the true class.
    """
    return 100.0 * (jnp.sum(logits > logits[label]) < count)


def accuracy(name: str, count: int) -> ImageMetric:
    """How often ResNet-50 has the label among its `count` most probable classes."""
    return ImageMetric(
        *(name, f"Top-{count} accuracy", "higher"),
        unit="%",
        digits=1,
        network="resnet50",
        classes=1000,
        function=partial(top, count),
        inputs=("features", "label"),
    )


ACCURACY = accuracy("accuracy", 1)
TOP5 = accuracy("top5", 5)
