"""The types that several modules share."""

import jax
import numpy as np
from jaxtyping import Array, Float, Key, Num, PyTree, UInt32

AnyArray = jax.Array | np.ndarray
Image = Float[AnyArray, "H W C"]
# (height, width, channels); any tuple, so that a wrong one gets a sentence.
ImageShape = tuple[int, ...]
# What an operator measures: one array for most, several for JPEG.
Measurement = PyTree[Float[AnyArray, "..."]]
Scalar = Float[Array, ""]
# A number that may be traced.
Number = float | np.floating | np.integer | Num[AnyArray, ""]
PRNGKey = Key[Array, ""] | UInt32[AnyArray, " 2"]
