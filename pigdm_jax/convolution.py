"""A convolution whose gradient XLA runs on its fast path on CPUs.

JAX writes the gradient of a convolution with its kernel's axes named in another order.
XLA's CPU backend reorders such kernels for its matrix-product path, but not inside of
a loop, where the sampler lives: there the gradient takes several times as long
(jaxlib 0.10, `benchmarks/convolution.py`).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], padding: Padding
) -> Float[Array, "b h2 w2 o"]:
    """`jax.lax.conv_general_dilated` with stride 1, also in every derivative."""
    return _convolve(x, kernel, padding, "HWIO")


def _convolve(x: Array, kernel: Array, padding: Padding, order: str) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", order, "NHWC")
    )


@partial(convolve.defjvp, symbolic_zeros=True)
def _tangent(
    padding: Padding, primals: tuple[Array, Array], tangents: tuple
) -> tuple[Array, Array]:
    x, kernel = primals
    by_x, by_kernel = (
        None if isinstance(t, jax.custom_derivatives.SymbolicZero) else t
        for t in tangents
    )
    out = convolve(x, kernel, padding)
    tangent = jnp.zeros_like(out)
    if by_x is not None:
        # The same convolution, named so that it is its transpose, the gradient, that
        # has the order that XLA wants.
        tangent += _convolve(by_x, jnp.swapaxes(kernel, 2, 3), padding, "HWOI")
    if by_kernel is not None:
        tangent += _convolve(x, by_kernel, padding, "HWIO")
    return out, tangent
