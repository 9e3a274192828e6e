"""Kronecker products of a matrix for rows, one for columns and one for channels.

The singular values of H = A_h (x) A_w (x) A_c are the products of those of its factors.
So three small singular value decompositions give the exact damped pseudoinverse. The
product of two such operators is one, too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.core.checks import check_one_number
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray
from pigdm_jax.operators.base import (
    EXACT,
    Damping,
    Image,
    ImageShape,
    Operator,
    Spectrum,
    check_damping,
    check_image_shape,
)

LARGEST_MATRIX = 2**28  # entries: 2 GB in float64


class Factor(NamedTuple):
    """A matrix for one axis and its singular value decomposition U diag(values) V^T."""

    matrix: Float[Array, "m n"]
    u: Float[Array, "m k"]
    values: Float[Array, " k"]
    v: Float[Array, "n k"]


Factors = tuple[Factor | None, Factor | None, Factor | None]


def along(
    matrix: Float[AnyArray, "m n"], x: Float[AnyArray, "..."], axis: int
) -> jax.Array:
    """The product of a matrix with every line of x along an axis.

    Args:
      matrix: m x n.
      x: an array with n entries along the axis.
      axis: which one.

    Returns:
      An array with m entries along the axis.
    """
    product = jnp.tensordot(matrix, x, axes=(1, axis), precision=EXACT)
    return jnp.moveaxis(product, 0, axis)


@pytree_class
class Separable(Operator):
    """A matrix for each axis, None for the identity; see `separable`."""

    factors: Factors
    rtol: float = static_field()
    image_shape: ImageShape = static_field()
    tight: float | None = static_field(default=None)

    linear = True

    def apply(self, x: Image) -> Float[AnyArray, "h w c"]:
        """The products along all three axes."""
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                x = along(factor.matrix, x, axis)
        return x

    def pinv(self, y: Float[AnyArray, "h w c"], damping: Damping = 0.0) -> Image:
        """V S (S^2 + damping)^-1 U^T y, with S truncated at rtol times its maximum."""
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                y = along(factor.u.T, y, axis)
        gain = spectral_gain(self._values, damping, self.rtol)
        return self._synthesise(jnp.asarray(y) * gain)

    @property
    def spectrum(self) -> Spectrum:
        """Products of the factors' singular values and vectors."""
        values = truncated(self._values, self.rtol)
        return Spectrum(values, self._analyse, self._synthesise)

    @property
    def _values(self) -> Float[Array, "h w c"]:
        values = jnp.ones((1, 1, 1), jnp.float32)
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                shape = [1, 1, 1]
                shape[axis] = -1
                values = values * factor.values.reshape(shape)
        return values

    def _analyse(self, x: Image) -> Float[Array, "h w c"]:
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                x = along(factor.v.T, x, axis)
        return jnp.asarray(x)

    def _synthesise(self, k: Float[Array, "h w c"]) -> Image:
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                k = along(factor.v, k, axis)
        return k


def check_matrix(rows: int, columns: int) -> None:
    """Refuse a factor that would take gigabytes, before it is made.

    Raises:
      ValueError: if it would have more than LARGEST_MATRIX entries.
    """
    if rows * columns > LARGEST_MATRIX:
        raise ValueError(
            f"an image with a side of {columns} pixels is too large for this operator: "
            f"its matrix would be {rows} x {columns}; use a part of the picture"
        )


def truncated(values: Float[Array, "..."], rtol: float) -> Float[Array, "..."]:
    """Singular values, with those of at most rtol times the largest set to 0."""
    return jnp.where(values > rtol * jnp.max(values), values, 0)


def spectral_gain(
    values: Float[Array, "..."], damping: Damping, rtol: float
) -> Float[Array, "..."]:
    """The gain s / (s^2 + damping) of each singular value s, 0 where truncated.

    Raises:
      ValueError: if the damping is an array.
    """
    check_damping(damping)
    values = truncated(values, rtol)
    kept = values > 0
    return jnp.where(kept, values / jnp.where(kept, values**2 + damping, 1), 0)


def separable(
    image_shape: ImageShape,
    rows: Float[AnyArray, "h H"] | None = None,
    columns: Float[AnyArray, "w W"] | None = None,
    channels: Float[AnyArray, "c C"] | None = None,
    rtol: float = 1e-6,
) -> Separable:
    """The Kronecker product of a matrix for each axis of the image.

    Args:
      image_shape: (height, width, channels) of the image.
      rows: h x height, multiplies every column of pixels; None for the identity.
      columns: w x width, multiplies every row of pixels; None for the identity.
      channels: c x channels, multiplies every pixel; None for the identity.
      rtol: the pseudoinverse treats singular values of at most rtol times the largest
        as 0.

    Returns:
      A linear operator to images of shape (h, w, c).

    Raises:
      ValueError: if a matrix does not fit the image or is not finite, or rtol is out
        of range.

    Examples:
      >>> import numpy as np
      >>> from pigdm_jax import operators
      >>> every_second = np.eye(8)[::2]
      >>> operator = operators.separable((8, 8, 3), rows=every_second)
      >>> operator.measurement_shape, operator.tight
      ((4, 8, 3), 1.0)
    """
    image_shape = check_image_shape(image_shape)
    rtol = check_one_number("rtol", rtol, 0, 1)
    factors: list[Factor | None] = []
    tight: float | None = 1.0
    for matrix, size in zip((rows, columns, channels), image_shape, strict=True):
        if matrix is None:
            factors.append(None)
            continue
        matrix = as_numbers("a matrix", matrix)
        if matrix.ndim != 2 or matrix.shape[1] != size:
            raise ValueError(
                f"a matrix of shape {matrix.shape} cannot multiply an axis of {size} "
                f"of an image of shape {image_shape}"
            )
        u, values, v_t = np.linalg.svd(matrix, full_matrices=False)
        full_rank = len(values) == len(matrix)
        if tight is not None and full_rank and np.allclose(values, values[0], 1e-9):
            tight *= float(values[0]) ** 2
        else:
            tight = None
        arrays = (matrix, u, values, v_t.T)
        factors.append(Factor(*(jnp.asarray(a, jnp.float32) for a in arrays)))
    height, width, channel = factors
    return Separable((height, width, channel), rtol, image_shape, tight)


def product(first: Separable, second: Separable) -> Separable | None:
    """The operator that applies `first`, then `second`.

    The decomposition is computed in float64 by NumPy, from the matrices' values.

    Returns:
      The product; None if a matrix is traced.
    """
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((first, second))):
        return None
    rows, columns, channels = (
        _product_of_factors(one, two)
        for one, two in zip(first.factors, second.factors, strict=True)
    )
    rtol = max(first.rtol, second.rtol)
    return separable(first.image_shape, rows, columns, channels, rtol)


def _product_of_factors(
    first: Factor | None, second: Factor | None
) -> Float[np.ndarray, "m n"] | None:
    """The matrix of `first`, then `second`; None if both are the identity."""
    factors = (second, first)
    matrices = [np.asarray(f.matrix, np.float64) for f in factors if f is not None]
    if not matrices:
        return None
    return matrices[0] if len(matrices) == 1 else matrices[0] @ matrices[1]
