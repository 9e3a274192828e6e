"""The UNet's convolutions, which CPUs do with fewer multiplications.

`convolve` is one bilinear primitive, so that its gradient is a convolution again, on
every platform and in every loop. On CPUs large enough 3 x 3 convolutions are Winograd's
F(2 x 2, 3 x 3): 16 matrix products of 4 x 4 windows' transforms in the place of 36,
from 64 channels 1.3 to 1.5 times as fast (`benchmarks/convolution.py`), to the same
rounding. The gradient needs the same transforms of the kernel in another order, and
those of weights are taken once, outside of the sampler's loop. The gradients of smaller
ones, and convolutions to few channels, are one matrix product for all taps.

Reference: Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks.
"""

import functools
import operator
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

# Fewer windows or channels do not make up for the transforms.
LEAST_WINDOWS, LEAST_CHANNELS = 256, 32
# An image's own channels, and those of a learned variance.
FEW_CHANNELS = 8

# Of windows, of kernels and of products (Lavin and Gray, section 4.1).
WINDOW = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
# A kernel turned round has the same transforms in this order.
TURNED = [3, 1, 2, 0]

_convolve = Primitive("convolve")


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Convolution by an odd number of taps that keeps the image's size."""
    return _convolve.bind(x, kernel, turned=False)


def _plain(x: Array, kernel: Array, turned: bool) -> Array:
    if turned:
        kernel = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _on_cpu(x: Array, kernel: Array, turned: bool) -> Array:
    batch, height, width, inner = x.shape
    outer = kernel.shape[2 if turned else 3]
    windows = batch * -(-height // 2) * -(-width // 2)
    if x.dtype != jnp.float32:
        return _plain(x, kernel, turned)
    if (
        kernel.shape[:2] == (3, 3)
        and windows >= LEAST_WINDOWS
        and min(inner, outer) >= LEAST_CHANNELS
    ):
        return winograd(x, kernel, turned)
    # XLA would turn the kernel round anew in every step of a loop.
    if outer <= FEW_CHANNELS or (turned and inner > FEW_CHANNELS):
        return by_taps(x, kernel, turned)
    return _plain(x, kernel, turned)


def by_taps(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i o"], turned: bool
) -> Float[Array, "b h w d"]:
    """The convolution as one matrix product for all taps, shifted and added up after.

    Turned round, the kernel is used as it lies in memory.

    Args:
      x: the image; c is i and d is o, with `turned` the other way round.
      kernel: the taps.
      turned: convolve by the kernel turned round, from its outputs to its inputs.
    """
    size, _, inner, outer = kernel.shape
    if turned:
        matrix = kernel.reshape(-1, outer).T
    else:
        matrix = kernel.transpose(2, 0, 1, 3).reshape(inner, -1)
    products = x.reshape(-1, x.shape[-1]) @ matrix
    products = products.reshape(*x.shape[:3], size, size, -1)
    offsets = [tap - size // 2 for tap in range(size)]
    if turned:
        offsets = [-offset for offset in offsets]
    lines = [
        _total(_shifted(products[:, :, :, k, i], n, 2) for i, n in enumerate(offsets))
        for k in range(size)
    ]
    return _total(_shifted(line, n, 1) for line, n in zip(lines, offsets, strict=True))


def _total(arrays: Iterable[Array]) -> Array:
    """The sum of one or more arrays, in their order."""
    return functools.reduce(operator.add, arrays)


def _shifted(x: Array, offset: int, axis: int) -> Array:
    """The image moved back by `offset` pixels, padded with zeros."""
    size = x.shape[axis]
    x = jax.lax.slice_in_dim(x, max(offset, 0), size + min(offset, 0), axis=axis)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (max(-offset, 0), max(offset, 0))
    return jnp.pad(x, pad)


def winograd(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 i o"], turned: bool
) -> Float[Array, "b h w d"]:
    """Convolution by 3 x 3 taps that keeps the image's size, 2 x 2 pixels at a time.

    Args:
      x: the image; c is i and d is o, with `turned` the other way round.
      kernel: the taps.
      turned: convolve by the kernel turned round, from its outputs to its inputs.
    """
    batch, height, width, inner = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    pad = [(1, 1 + 2 * n - size) for n, size in ((rows, height), (columns, width))]
    x = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    windows = [
        [x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for j in range(4)]
        for i in range(4)
    ]
    kernels = _transformed(KERNEL, [list(line) for line in kernel])
    if turned:
        kernels = [[kernels[p][q].T for q in TURNED] for p in TURNED]
    products = [
        [
            (window.reshape(-1, inner) @ taps).reshape(batch, rows, columns, -1)
            for window, taps in zip(*lines, strict=True)
        ]
        for lines in zip(_transformed(WINDOW, windows), kernels, strict=True)
    ]
    pixels = _transformed(OUTPUT, products)
    whole = jnp.stack([jnp.stack(line, axis=3) for line in pixels], axis=2)
    return whole.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width]


def _transformed(matrix: np.ndarray, parts: list[list[Array]]) -> list[list[Array]]:
    """The matrix times the square of arrays times the matrix transposed."""
    lines = [
        [_sum(row, column) for column in zip(*parts, strict=True)] for row in matrix
    ]
    return [[_sum(row, line) for row in matrix] for line in lines]


def _sum(factors: np.ndarray, arrays: tuple[Array, ...] | list[Array]) -> Array:
    """The arrays added up, each times its factor."""
    return _total(
        array if factor == 1 else array * factor.astype(array.dtype)
        for factor, array in zip(factors, arrays, strict=True)
        if factor
    )


def _by_x(cotangent: Array, x: Any, kernel: Array, turned: bool) -> Array:
    """The gradient by the image: a convolution by the kernel turned round."""
    del x
    return _convolve.bind(cotangent, kernel, turned=not turned)


def _by_kernel(cotangent: Array, x: Array, kernel: Any, turned: bool) -> Array:
    plain = partial(_plain, x, turned=turned)
    (gradient,) = jax.linear_transpose(plain, kernel.aval)(cotangent)
    return gradient


def _batched(
    arguments: tuple[Array, Array], axes: tuple, turned: bool
) -> tuple[Array, int]:
    """More images for one kernel, or kernel by kernel."""
    x, kernel = arguments
    if axes[1] is not None:
        return jax.vmap(partial(_plain, turned=turned), axes)(x, kernel), 0
    x = jnp.moveaxis(x, axes[0], 0)
    out = _convolve.bind(x.reshape(-1, *x.shape[2:]), kernel, turned=turned)
    return out.reshape(*x.shape[:-1], -1), 0


_convolve.def_impl(jax.jit(_convolve.bind, static_argnames="turned"))
_convolve.def_abstract_eval(
    lambda x, kernel, turned: x.update(
        shape=(*x.shape[:3], kernel.shape[2 if turned else 3])
    )
)
ad.defbilinear(_convolve, _by_x, _by_kernel)
batching.primitive_batchers[_convolve] = _batched
mlir.register_lowering(_convolve, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(
    _convolve, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu"
)
