"""JPEG compression: the measurement is the quantised coefficients of a file."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    EXACT,
    Damping,
    Image,
    ImageShape,
    Operator,
    check_image_shape,
    refuse_damping,
)
from pigdm_jax.operators.named import Named, Parameter

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

# How many pixels, down and across, one chroma sample stands for.
SUBSAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}

# RGB to luma and the two colour differences, all centred at 0 (JFIF, from BT.601).
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

# Halves are common among whole numbers; float32 must not round them one way in one
# compilation and the other way in the next.
HALF = 0.5 + 2**-11
# Decoded pixels give their coefficients back up to float32's rounding.
DECODED = 2**-6

Plane = Float[Array, "h w"]
Blocks = Float[Array, "rows columns 8 8"]
TableArray = Float[Array, "8 8"]


class Coefficients(NamedTuple):
    """Quantised coefficients, whole numbers; cb and cr are None for a grey image.

    Attributes:
      y, cb, cr: (block rows, block columns, 8, 8), the frequency down before across.
    """

    y: Any
    cb: Any
    cr: Any


@pytree_class
class Jpeg(Operator):
    """Compression without the entropy coder, which loses nothing; made by `jpeg`."""

    luma_table: Any  # 8 x 8
    chroma_table: Any  # 8 x 8
    image_shape: ImageShape = static_field()
    subsampling: str = static_field()

    linear = False

    def apply(self, x: Image) -> Coefficients:
        """The coefficients that libjpeg writes for an image (nearly all: see below).

        Where the image ends inside of a block, libjpeg repeats the border, and what a
        decoder shows of the block does not give its coefficients back. Here such a
        block has only as many coefficients as pixels, the others being 0, so they do.

        Values outside of [-1, 1] are not clipped. Up to +-30 a decoded image keeps its
        coefficients exactly; far beyond, float32 cannot tell steps of 1 apart.
        """
        height, width, channels = self.image_shape
        pixels = (jnp.asarray(x) + 1) * 127.5
        if channels == 1:
            luma = encode(pixels[..., 0] - 128, self.luma_table)
            return Coefficients(luma, None, None)
        matrix = jnp.asarray(TO_YCBCR, jnp.float32)
        luma, *colours = jnp.einsum("hwc,yc->yhw", pixels, matrix, precision=EXACT)
        down, across = SUBSAMPLINGS[self.subsampling]
        pad = ((0, -height % down), (0, -width % across))
        shape = (-(-height // down), down, -(-width // across), across)
        cb, cr = (
            encode(
                jnp.pad(colour, pad, mode="edge").reshape(shape).mean((1, 3)),
                self.chroma_table,
            )
            for colour in colours
        )
        return Coefficients(encode(luma - 128, self.luma_table), cb, cr)

    def pinv(self, y: Coefficients, damping: Damping = 0.0) -> Image:
        """The decoded image, neither rounded nor clipped."""
        refuse_damping(damping)
        height, width, channels = self.image_shape
        luma = from_blocks(y.y * self.luma_table)[:height, :width] + 128
        if channels == 1:
            return luma[..., None] / 127.5 - 1
        down, across = SUBSAMPLINGS[self.subsampling]
        cb, cr = (
            from_blocks(c * self.chroma_table)
            .repeat(down, 0)[:height]
            .repeat(across, 1)[:, :width]
            for c in (y.cb, y.cr)
        )
        matrix = jnp.asarray(np.linalg.inv(TO_YCBCR), jnp.float32)
        ycbcr = jnp.stack([luma, cb, cr])
        pixels = jnp.einsum("yhw,cy->hwc", ycbcr, matrix, precision=EXACT)
        return pixels / 127.5 - 1

    def from_picture(self, picture: Image) -> Coefficients:
        """The coefficients of a picture that was decoded from a file."""
        return self.apply(picture)

    def to_picture(self, y: Coefficients) -> Image:
        """The decoded image."""
        return self.pinv(y)


def jpeg(
    image_shape: ImageShape,
    quality: int = 10,
    subsampling: str = "4:2:0",
    *,
    tables: Sequence[ArrayLike] | None = None,
) -> Jpeg:
    """JPEG compression of an image of any size, with one channel or three.

    Args:
      image_shape: (height, width, channels) of the image.
      quality: 1 to 100, as libjpeg has it.
      subsampling: "4:2:0" (chroma averaged over 2 x 2 pixels), "4:2:2" (over 1 x 2) or
        "4:4:4"; of no account with one channel.
      tables: luma and chroma quantisation steps, 8 x 8 each, the frequency down before
        across; those of the quality if None.

    Returns:
      An operator whose measurement is `Coefficients`.

    Raises:
      ValueError: if a parameter is out of range or the image has other channels.

    References: Rec. ITU-T T.81 (JPEG); T.871 (JFIF); libjpeg for what they leave open.
    """
    image_shape = check_image_shape(image_shape)
    if image_shape[2] not in (1, 3):
        raise ValueError(f"jpeg needs one channel or three, got {image_shape[2]}")
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(
            f"jpeg's subsampling is one of {', '.join(SUBSAMPLINGS)}; got "
            f"{subsampling!r}"
        )
    if tables is None:
        tables = quality_tables(quality)
    arrays = [jnp.asarray(table, jnp.float32) for table in tables]
    if [a.shape for a in arrays] != [(8, 8), (8, 8)]:
        raise ValueError(
            "jpeg's tables are two arrays of 8 x 8, for luma and chroma; got "
            f"{', '.join(str(a.shape) for a in arrays)}"
        )
    traced = any(isinstance(a, jax.core.Tracer) for a in arrays)
    if not traced and not all((a >= 1).all() for a in arrays):
        raise ValueError("every step in jpeg's tables is at least 1")
    return Jpeg(*arrays, image_shape, subsampling)


def quality_tables(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The luma and chroma tables that libjpeg has for a quality.

    Raises:
      ValueError: if the quality is not a whole number from 1 to 100.
    """
    if not 1 <= quality <= 100 or quality != int(quality):
        raise ValueError(
            f"jpeg's quality is a whole number from 1 to 100, got {quality}"
        )
    percent = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)
    luma, chroma = (
        np.clip((table * percent + 50) // 100, 1, 255)
        for table in (LUMA_TABLE, CHROMA_TABLE)
    )
    return luma, chroma


def encode(plane: Plane, table: TableArray) -> Blocks:
    """The coefficients of a plane of any size, centred at 0, in steps of the table.

    Pixels are rounded, and the transform is rounded after each axis, as libjpeg's
    integers are: `benchmarks/jpeg_agreement.py` shows what that is worth. Not so in
    blocks that were decoded and never rounded to pixels: they keep their coefficients.
    """
    height, width = plane.shape
    down, across = analysis(height), analysis(width)
    padded = jnp.pad(plane, ((0, -height % 8), (0, -width % 8)))
    blocks = padded.reshape(len(down), 8, len(across), 8)
    exact = jnp.einsum("rui,ribj,bvj->rbuv", down, blocks, across, precision=EXACT)
    nearest = whole(exact / table)
    error = jnp.abs(exact / table - nearest)
    decoded = jnp.all(error < DECODED, axis=(2, 3), keepdims=True)

    # libjpeg's coefficients are sqrt(8) larger on each axis, and 4 between the two.
    down, across = np.sqrt(np.float32(8)) * down, np.sqrt(np.float32(8)) * across
    rows = jnp.einsum("ribj,bvj->ribv", half_up(blocks), across, precision=EXACT)
    both = jnp.einsum("rui,ribv->rbuv", down, half_up(4 * rows), precision=EXACT)
    return jnp.where(decoded, nearest, whole(half_up(both / 4) / (8 * table)))


def analysis(size: int) -> Float[np.ndarray, "blocks 8 8"]:
    """For each block along an axis, the matrix from its pixels to its coefficients.

    A block cut to n pixels is written in n of the eight frequencies: the nearest to
    each of a DCT of n values. The inverse's condition is then 2.83 at most; that of
    the lowest n frequencies would be 237.
    """
    matrices = np.tile(DCT, (-(-size // 8), 1, 1))
    if seen := size % 8:
        used = (16 * np.arange(seen) + seen) // (2 * seen)
        matrices[-1] = 0
        matrices[-1, used, :seen] = np.linalg.inv(DCT[used, :seen]).T
    return matrices.astype(np.float32)


def from_blocks(coefficients: Blocks) -> Plane:
    """The pixels of DCT coefficients."""
    rows, columns = coefficients.shape[:2]
    dct = DCT.astype(np.float32)
    blocks = jnp.einsum("ui,rbuv,vj->ribj", dct, coefficients, dct, precision=EXACT)
    return blocks.reshape(8 * rows, 8 * columns)


def whole(x: Array) -> Array:
    """Rounded to whole numbers, halves away from zero, as libjpeg quantises."""
    return jnp.sign(x) * jnp.floor(jnp.abs(x) + HALF)


def half_up(x: Array) -> Array:
    """Rounded to whole numbers, halves up, as libjpeg shifts bits out."""
    return jnp.floor(x + HALF)


def _jpeg_by_name(
    image_shape: ImageShape, quality: Any = 10, subsampling: str = "4:2:0"
) -> Operator:
    """JPEG by a quality, or by the header that was read from a file."""
    if isinstance(quality, int):
        return jpeg(image_shape, quality, subsampling)
    return jpeg(image_shape, subsampling=quality.subsampling, tables=quality.tables)


JPEG = Named(
    "jpeg",
    _jpeg_by_name,
    "JPEG compression, 1 to 100, or as in the header of a JPEG FILE.",
    (
        Parameter("quality", int, 10, low=1, high=100, file_kind="JPEG"),
        Parameter("subsampling", str, "4:2:0", choices=tuple(SUBSAMPLINGS)),
    ),
    header_parameter="quality",
)
