"""The image that a network for one task takes besides the noisy one."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from pigdm_jax.core.types import AnyArray
from pigdm_jax.pictures.parameters import read_parameter
from pigdm_jax.pictures.task import Task


def pseudoinverses(
    task: str, images: Float[AnyArray, "B H W C"]
) -> Float[np.ndarray, "B H W C"]:
    """The pseudoinverses of the measurements of clean images.

    Args:
      task: as `Task.parse` takes it, for instance "super_resolution:4,box".
      images: clean images in [-1, 1].
    """
    operator = Task.parse(task).operator(images.shape[1:], read_parameter)
    return np.asarray(_pseudoinverses(operator, images))


@jax.jit
def _pseudoinverses(operator: Any, images: Any) -> Any:
    return jax.vmap(lambda x: operator.pinv(operator.apply(x)))(images)
