"""Bilinear operations with an algorithm of their own on CPUs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

Operation = Callable[..., Array]
"""Called with x, (batch, ..., i), a kernel, (..., i, o), and `adjoint`.

The result is (batch, ..., o). If `adjoint` is True, it is the transpose for that
kernel, which takes (batch, ..., o) to (batch, ..., i).
"""


def bilinear(name: str, plain: Operation, on_cpu: Operation) -> Operation:
    """An operation as one primitive, whose gradient by x is the same primitive.

    Args:
      name: of the primitive.
      plain: the operation.
      on_cpu: the same operation, by the algorithm for CPUs.
    """
    primitive = Primitive(name)

    def bind(x: Array, kernel: Array, adjoint: bool) -> Array:
        out: Array = primitive.bind(x, kernel, adjoint=adjoint)
        return out

    def by_x(cotangent: Array, x: Any, kernel: Array, adjoint: bool) -> Array:
        del x
        return bind(cotangent, kernel, not adjoint)

    def by_kernel(cotangent: Array, x: Array, kernel: Any, adjoint: bool) -> Array:
        of_kernel = partial(plain, x, adjoint=adjoint)
        (gradient,) = jax.linear_transpose(of_kernel, kernel.aval)(cotangent)
        return gradient

    def batched(
        arguments: tuple[Array, Array], axes: tuple, adjoint: bool
    ) -> tuple[Array, int]:
        """A larger batch if there is one kernel; else an operation for each kernel."""
        x, kernel = arguments
        if axes[1] is not None:
            return jax.vmap(partial(plain, adjoint=adjoint), axes)(x, kernel), 0
        x = jnp.moveaxis(x, axes[0], 0)
        out = bind(x.reshape(-1, *x.shape[2:]), kernel, adjoint)
        return out.reshape(*x.shape[:-1], -1), 0

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="adjoint"))
    primitive.def_abstract_eval(
        lambda x, kernel, adjoint: x.update(
            shape=(*x.shape[:-1], kernel.shape[-2 if adjoint else -1])
        )
    )
    ad.defbilinear(primitive, by_x, by_kernel)
    batching.primitive_batchers[primitive] = batched
    for operation, platform in ((plain, None), (on_cpu, "cpu")):
        lowering = mlir.lower_fun(operation, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)
    return bind
