"""The UNet's convolutions, with faster algorithms on CPUs.

`convolve` is one bilinear primitive, whose gradient is the same primitive. On CPUs,
large 3 x 3 convolutions use Winograd's F(2 x 2, 3 x 3): 16 matrix products for each 2 x
2 pixels instead of 36, which is 1.3 to 1.5 times as fast from 64 channels on
(`benchmarks/convolution.py`), with the same rounding error. It takes half a second to
compile, so small convolutions do without it. The gradient uses the same transforms of
the kernel in another order; XLA computes those of the weights once, outside of the
sampler's loop. Gradients of smaller convolutions, and convolutions to few channels, are
one matrix product for all taps. Other platforms use XLA's convolution.

Reference: Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks.
"""

import functools
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.networks.kernels.bilinear import bilinear

# With fewer windows or channels the transforms take longer than they save.
LEAST_WINDOWS, LEAST_CHANNELS = 256, 32
# With fewer multiplications in each of the 16 products, compiling takes longer than a
# restoration saves: with the shipped prior, for photos of 128 x 128.
LEAST_WORK = 2**24
# At most this many: the channels of an image and of a learned variance.
FEW_CHANNELS = 8

# Transforms of windows, of kernels and of products (Lavin and Gray, section 4.1).
WINDOW = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
# The transforms of a flipped kernel are those of the kernel in this order.
FLIPPED = [3, 1, 2, 0]


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Convolution with an odd number of taps and zero padding; keeps the size.

    Args:
      x: images.
      kernel: k x k taps, k odd.
    """
    return _convolve(x, kernel, False)


def _plain(x: Array, kernel: Array, adjoint: bool) -> Array:
    if adjoint:
        kernel = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _on_cpu(x: Array, kernel: Array, adjoint: bool) -> Array:
    batch, height, width, inner = x.shape
    outer = kernel.shape[2 if adjoint else 3]
    windows = batch * -(-height // 2) * -(-width // 2)
    if x.dtype != jnp.float32:
        return _plain(x, kernel, adjoint)
    if (
        kernel.shape[:2] == (3, 3)
        and windows >= LEAST_WINDOWS
        and min(inner, outer) >= LEAST_CHANNELS
        and windows * inner * outer >= LEAST_WORK
    ):
        return winograd(x, kernel, adjoint)
    # XLA would flip the kernel again in every step of a loop.
    if outer <= FEW_CHANNELS or (adjoint and inner > FEW_CHANNELS):
        return by_taps(x, kernel, adjoint)
    return _plain(x, kernel, adjoint)


def by_taps(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k i o"], flipped: bool
) -> Float[Array, "b h w d"]:
    """The convolution as one matrix product for all taps, then shifts and sums.

    A flipped kernel is used without a copy.

    Args:
      x: images; c is i and d is o, or the reverse if `flipped`.
      kernel: the taps.
      flipped: convolve with the kernel flipped in both axes and with its input and
        output channels exchanged, which is the transpose of the convolution.
    """
    size, _, inner, outer = kernel.shape
    if flipped:
        matrix = kernel.reshape(-1, outer).T
    else:
        matrix = kernel.transpose(2, 0, 1, 3).reshape(inner, -1)
    products = x.reshape(-1, x.shape[-1]) @ matrix
    products = products.reshape(*x.shape[:3], size, size, -1)
    offsets = [tap - size // 2 for tap in range(size)]
    if flipped:
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
    """The image shifted by -`offset` pixels along an axis, padded with zeros."""
    size = x.shape[axis]
    x = jax.lax.slice_in_dim(x, max(offset, 0), size + min(offset, 0), axis=axis)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (max(-offset, 0), max(offset, 0))
    return jnp.pad(x, pad)


def winograd(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 i o"], flipped: bool
) -> Float[Array, "b h w d"]:
    """Winograd's convolution with 3 x 3 taps, 2 x 2 pixels at a time.

    Args:
      x: images; c is i and d is o, or the reverse if `flipped`.
      kernel: the taps.
      flipped: convolve with the kernel flipped in both axes and with its input and
        output channels exchanged, which is the transpose of the convolution.
    """
    batch, height, width, inner = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    pad = [(1, 1 + 2 * n - size) for n, size in ((rows, height), (columns, width))]
    x = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    windows = [
        [x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for j in range(4)]
        for i in range(4)
    ]
    # As one product the 16 transforms compile as fast as one.
    matrix = jnp.asarray(np.kron(KERNEL, KERNEL), kernel.dtype)
    transforms = (matrix @ kernel.reshape(9, -1)).reshape(4, 4, *kernel.shape[2:])
    order = FLIPPED if flipped else range(4)
    kernels = [
        [transforms[p, q].T if flipped else transforms[p, q] for q in order]
        for p in order
    ]
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
    """The product M A M^T, where the entries of A are arrays."""
    lines = [
        [_sum(row, column) for column in zip(*parts, strict=True)] for row in matrix
    ]
    return [[_sum(row, line) for row in matrix] for line in lines]


def _sum(factors: np.ndarray, arrays: tuple[Array, ...] | list[Array]) -> Array:
    """The weighted sum of the arrays; factors of 0 and 1 cost nothing."""
    return _total(
        array if factor == 1 else array * factor.astype(array.dtype)
        for factor, array in zip(factors, arrays, strict=True)
        if factor
    )


_convolve = bilinear("convolve", _plain, _on_cpu)
