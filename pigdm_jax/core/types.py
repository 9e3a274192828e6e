"""The types that several modules use."""

import jax
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree, UInt32

AnyArray = jax.Array | np.ndarray
Image = Float[AnyArray, "H W C"]
# (height, width, channels). A tuple of any length, so that a wrong one is answered by
# `check_image_shape` with a sentence.
ImageShape = tuple[int, ...]
# One array for most operators, a pytree of several for JPEG.
Measurement = PyTree[Float[AnyArray, "..."]]
Scalar = Float[Array, ""]
# A number that may be traced.
Number = float | np.floating | np.integer | Num[AnyArray, ""]
PRNGKey = Key[Array, ""] | UInt32[AnyArray, " 2"]
