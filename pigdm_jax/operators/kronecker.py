"""Operators that act on rows, columns and channels apart, inverted by three SVDs.

H = A_h x A_w x A_c (a Kronecker product): its singular values are the products of the
factors', so the damped pseudoinverse is exact at the cost of small matrix products.
Products of such operators are such operators.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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


class Factor(NamedTuple):
    """A matrix for one axis and its singular value decomposition."""

    matrix: Float[Array, "m n"]
    left: Float[Array, "m k"]
    values: Float[Array, " k"]
    right: Float[Array, "n k"]


Factors = tuple[Factor | None, Factor | None, Factor | None]


def along(
    matrix: Float[AnyArray, "m n"], x: Float[AnyArray, "..."], axis: int
) -> jax.Array:
    """The product of a matrix with every line of x along an axis."""
    product = jnp.tensordot(matrix, x, axes=(1, axis), precision=EXACT)
    return jnp.moveaxis(product, 0, axis)


@pytree_class
class Separable(Operator):
    """A matrix for each axis; made by `separable`. A factor of None is the identity."""

    factors: Factors
    rtol: float = static_field()
    image_shape: ImageShape = static_field()
    tight: float | None = static_field()

    linear = True

    def apply(self, x: Image) -> Float[AnyArray, "h w c"]:
        """The product along all three axes."""
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                x = along(factor.matrix, x, axis)
        return x

    def pinv(self, y: Float[AnyArray, "h w c"], damping: Damping = 0.0) -> Image:
        """Divides by singular values; those under rtol times the largest count as 0."""
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                y = along(factor.left.T, y, axis)
        return self._synthesise(y * spectral_gain(self._values, damping, self.rtol))

    @property
    def spectrum(self) -> Spectrum:
        """Products of the axes' singular vectors."""
        values = truncated(self._values, self.rtol)
        return Spectrum(values, self._analyse, self._synthesise)

    @property
    def _values(self) -> Float[Array, "h w c"]:
        values = jnp.ones((1, 1, 1))
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                shape = [1, 1, 1]
                shape[axis] = -1
                values = values * factor.values.reshape(shape)
        return values

    def _analyse(self, x: Image) -> Float[Array, "h w c"]:
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                x = along(factor.right.T, x, axis)
        return x

    def _synthesise(self, k: Float[Array, "h w c"]) -> Image:
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                k = along(factor.right, k, axis)
        return k


def truncated(values: Float[Array, "..."], rtol: float) -> Float[Array, "..."]:
    """Singular values; 0 for those at most rtol times the largest."""
    return jnp.where(values > rtol * jnp.max(values), values, 0)


def spectral_gain(
    values: Float[Array, "..."], damping: Damping, rtol: float
) -> Float[Array, "..."]:
    """S / (s^2 + damping), and 0 where s is at most rtol times the largest."""
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
    """An operator from a matrix for each axis.

    Args:
      image_shape: (height, width, channels) of the image.
      rows: h x height, acts on every column of pixels; None for the identity.
      columns: w x width, acts on every row of pixels; None for the identity.
      channels: c x channels, acts on every pixel; None for the identity.
      rtol: singular values at most this times the largest count as 0.

    Raises:
      ValueError: if a matrix does not fit the image.
    """
    image_shape = check_image_shape(image_shape)
    factors, tight = [], 1.0
    for matrix, size in zip((rows, columns, channels), image_shape, strict=True):
        if matrix is None:
            factors.append(None)
            continue
        matrix = np.asarray(matrix, np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != size:
            raise ValueError(
                f"a matrix of shape {matrix.shape} does not act on an axis of {size} "
                f"in an image of shape {image_shape}"
            )
        left, values, right_t = np.linalg.svd(matrix, full_matrices=False)
        full_rank = len(values) == len(matrix)
        if tight is not None and full_rank and np.allclose(values, values[0], 1e-9):
            tight *= float(values[0]) ** 2
        else:
            tight = None
        arrays = (matrix, left, values, right_t.T)
        factors.append(Factor(*(jnp.asarray(a, jnp.float32) for a in arrays)))
    return Separable(tuple(factors), float(rtol), image_shape, tight)


def product(first: Separable, second: Separable) -> Separable | None:
    """The operator that applies `first`, then `second`; None inside a trace.

    The decomposition is made once, in float64, so it needs the matrices' values.
    """
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((first, second))):
        return None
    matrices = []
    for one, two in zip(first.factors, second.factors, strict=True):
        factors = [np.asarray(f.matrix, np.float64) for f in (two, one) if f]
        matrices.append(np.linalg.multi_dot(factors) if len(factors) == 2 else None)
        if len(factors) == 1:
            matrices[-1] = factors[0]
    rtol = max(first.rtol, second.rtol)
    return separable(first.image_shape, *matrices, rtol=rtol)
