"""Products of rows and weights, whose gradient is as fast as they are on CPUs.

`multiply` is one bilinear primitive, whose gradient is the same primitive with the
weights transposed. On CPUs XLA takes longer for x W^T than for x W, since it reads the
weights across their rows. (W x^T)^T reads them along their rows, and transposes x and
the result, which have far fewer entries where there are few rows. On one core it is up
to 6.8 times as fast for 16 rows, and 1.3 to 2.4 times for the 288 of JiT
(`benchmarks/product.py`).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

# With more rows, XLA's copy of the weights takes little of the time.
MOST_ROWS = 384

_multiply = Primitive("multiply_by_weights")


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
    out = _multiply.bind(x.reshape(-1, x.shape[-1]), kernel, transposed=False)
    return out.reshape(*x.shape[:-1], -1)


def _plain(x: Array, kernel: Array, transposed: bool) -> Array:
    return x @ (kernel.T if transposed else kernel)


def _on_cpu(x: Array, kernel: Array, transposed: bool) -> Array:
    if not transposed or x.dtype != jnp.float32 or x.shape[0] > MOST_ROWS:
        return _plain(x, kernel, transposed)
    # Without barriers XLA would move the transpositions to the weights.
    columns = jax.lax.optimization_barrier(x.T)
    return jax.lax.optimization_barrier(kernel @ columns).T


def _by_x(cotangent: Array, x: Any, kernel: Array, transposed: bool) -> Array:
    del x
    return _multiply.bind(cotangent, kernel, transposed=not transposed)


def _by_kernel(cotangent: Array, x: Array, kernel: Any, transposed: bool) -> Array:
    plain = partial(_plain, x, transposed=transposed)
    (gradient,) = jax.linear_transpose(plain, kernel.aval)(cotangent)
    return gradient


def _batched(
    arguments: tuple[Array, Array], axes: tuple, transposed: bool
) -> tuple[Array, int]:
    """More rows if the weights are the same; else a product for each."""
    x, kernel = arguments
    if axes[1] is not None:
        return jax.vmap(partial(_plain, transposed=transposed), axes)(x, kernel), 0
    x = jnp.moveaxis(x, axes[0], 0)
    out = _multiply.bind(x.reshape(-1, x.shape[-1]), kernel, transposed=transposed)
    return out.reshape(*x.shape[:-1], -1), 0


_multiply.def_impl(jax.jit(_multiply.bind, static_argnames="transposed"))
_multiply.def_abstract_eval(
    lambda x, kernel, transposed: x.update(
        shape=(x.shape[0], kernel.shape[0 if transposed else 1])
    )
)
ad.defbilinear(_multiply, _by_x, _by_kernel)
batching.primitive_batchers[_multiply] = _batched
mlir.register_lowering(_multiply, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(
    _multiply, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
