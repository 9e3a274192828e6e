"""Products of rows and weights, whose gradient is as fast as they are on CPUs.

`multiply` is one bilinear primitive, whose gradient is the same primitive with the
weights transposed. On CPUs XLA takes longer for x W^T than for x W, since it reads the
weights across their rows. (W x^T)^T reads them along their rows, and transposes x and
the result, which have far fewer entries where there are few rows. On one core it is up
to 6.8 times as fast for 16 rows, and 1.3 to 2.4 times for the 288 of JiT
(`benchmarks/product.py`).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.networks.kernels.bilinear import bilinear

# With more rows, XLA's copy of the weights takes little of the time.
MOST_ROWS = 384


def multiply(
    x: Float[Array, "*rows i"],
    kernel: Float[Array, "i o"],
    dimension_numbers: Any = None,
    precision: Any = None,
) -> Float[Array, "*rows o"]:
    """The product x W, for the `dot_general` of `flax.linen.Dense`.

    Args:
      x: rows.
      kernel: W.
      dimension_numbers: those of Dense: the last axis of x and the first of W.
      precision: None.
    """
    del dimension_numbers, precision
    out = _multiply(x.reshape(-1, x.shape[-1]), kernel, False)
    return out.reshape(*x.shape[:-1], -1)


def _plain(x: Array, kernel: Array, adjoint: bool) -> Array:
    return x @ (kernel.T if adjoint else kernel)


def _on_cpu(x: Array, kernel: Array, adjoint: bool) -> Array:
    if not adjoint or x.dtype != jnp.float32 or x.shape[0] > MOST_ROWS:
        return _plain(x, kernel, adjoint)
    # Without barriers XLA would move the transpositions to the weights.
    columns = jax.lax.optimization_barrier(x.T)
    return jax.lax.optimization_barrier(kernel @ columns).T


_multiply = bilinear("multiply_by_weights", _plain, _on_cpu)
