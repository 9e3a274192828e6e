"""The arithmetic of JPEG: quantisation tables, colours, and blocks of 8 x 8 pixels.

As in libjpeg, with its roundings; `benchmarks/jpeg_agreement.py` compares the two.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.core.checks import check_count
from pigdm_jax.operators.base import EXACT

# Rec. ITU-T T.81, tables K.1 and K.2.
LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA_TABLE = np.full((8, 8), 99)
CHROMA_TABLE[:4, :4] = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56, 99],
    [47, 66, 99, 99],
]

# Pixels for each chroma sample, down and across.
SUBSAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}

# RGB to luma and the two colour differences, without offsets (JFIF, from BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
TO_YCBCR = np.stack(
    [
        LUMA,
        (np.array([0, 0, 1]) - LUMA) / (2 - 2 * LUMA[2]),
        (np.array([1, 0, 0]) - LUMA) / (2 - 2 * LUMA[0]),
    ]
)

# The orthonormal DCT-II of eight values.
DCT = np.cos((2 * np.arange(8) + 1) * np.arange(8)[:, None] * np.pi / 16) / 2
DCT[0] /= np.sqrt(2)

# Halves are common, since pixels are whole numbers. The margin makes float32 round them
# up in every compilation, whatever the order of its sums.
HALF = 0.5 + 2**-11
# Largest rounding error of the coefficients of decoded pixels, in quantisation steps.
DECODED = 2**-6

Plane = Float[Array, "h w"]
Blocks = Float[Array, "rows columns 8 8"]
TableArray = Float[Array, "8 8"]


def quality_tables(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The luma and chroma tables of libjpeg for a quality.

    Args:
      quality: 1 to 100.

    Returns:
      Quantisation steps, 8 x 8 each, vertical frequency first.

    Raises:
      ValueError: if the quality is not a whole number from 1 to 100.
    """
    check_count("jpeg's quality", quality, 1, 100)
    percent = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)
    luma, chroma = (
        np.clip((table * percent + 50) // 100, 1, 255)
        for table in (LUMA_TABLE, CHROMA_TABLE)
    )
    return luma, chroma


def encode(plane: Plane, table: TableArray) -> Blocks:
    """The quantised coefficients of a plane.

    Pixels are rounded, and so is the transform after each axis, as in libjpeg's integer
    arithmetic. Blocks whose exact coefficients are all near multiples of the steps are
    the exception: they come from a decoder, without rounding to pixels, and keep those
    coefficients.

    Args:
      plane: of any size, from -128 to 127.
      table: quantisation steps, vertical frequency first.
    """
    down, across = (block_matrices(size) for size in plane.shape)
    blocks = _blocks(plane)
    exact = transform(plane)
    nearest = round_half_away(exact / table)
    error = jnp.abs(exact / table - nearest)
    decoded = jnp.all(error < DECODED, axis=(2, 3), keepdims=True)

    # libjpeg's transform is sqrt(8) larger along each axis, and keeps 2 more bits
    # between the two.
    down, across = np.sqrt(np.float32(8)) * down, np.sqrt(np.float32(8)) * across
    rows = jnp.einsum("ribj,bvj->ribv", round_half_up(blocks), across, precision=EXACT)
    both = jnp.einsum("rui,ribv->rbuv", down, round_half_up(4 * rows), precision=EXACT)
    quantised = round_half_away(round_half_up(both / 4) / (8 * table))
    return jnp.where(decoded, nearest, quantised)


def transform(plane: Plane) -> Blocks:
    """The coefficients of a plane, not quantised.

    Args:
      plane: of any size.
    """
    down, across = (block_matrices(size) for size in plane.shape)
    return jnp.einsum(
        "rui,ribj,bvj->rbuv", down, _blocks(plane), across, precision=EXACT
    )


def _blocks(plane: Plane) -> Float[Array, "rows 8 columns 8"]:
    """A plane cut into blocks, the last ones filled with zeros."""
    height, width = plane.shape
    padded = jnp.pad(plane, ((0, -height % 8), (0, -width % 8)))
    return padded.reshape(-(-height // 8), 8, -(-width // 8), 8)


def block_matrices(size: int) -> Float[np.ndarray, "blocks 8 8"]:
    """For each block along an axis, the matrix from its pixels to its coefficients.

    A last block of n < 8 pixels has n coefficients, whose frequencies are the nearest
    to those of a DCT of n values; the others are 0. The condition number of its matrix
    is at most 2.83; with the lowest n frequencies it would be 237.

    Args:
      size: number of pixels along the axis.
    """
    matrices = np.tile(DCT, (-(-size // 8), 1, 1))
    if n := size % 8:
        used = (16 * np.arange(n) + n) // (2 * n)
        matrices[-1] = 0
        matrices[-1, used, :n] = np.linalg.inv(DCT[used, :n]).T
    return matrices.astype(np.float32)


def from_blocks(coefficients: Blocks) -> Plane:
    """The pixels of DCT coefficients, by the inverse DCT of every block."""
    rows, columns = coefficients.shape[:2]
    dct = DCT.astype(np.float32)
    blocks = jnp.einsum("ui,rbuv,vj->ribj", dct, coefficients, dct, precision=EXACT)
    return blocks.reshape(8 * rows, 8 * columns)


def round_half_away(x: Array) -> Array:
    """Rounded to whole numbers, halves away from zero: libjpeg's quantisation."""
    return jnp.sign(x) * jnp.floor(jnp.abs(x) + HALF)


def round_half_up(x: Array) -> Array:
    """Rounded to whole numbers, halves up: libjpeg's shifts to the right."""
    return jnp.floor(x + HALF)
