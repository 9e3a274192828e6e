"""JPEG compression; the measurement is the quantised coefficients of a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.core.checks import check_choice, given
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    EXACT,
    Damping,
    Image,
    ImageShape,
    Operator,
    Relaxation,
    check_image_shape,
    refuse_damping,
)
from pigdm_jax.operators.jpeg_blocks import (
    SUBSAMPLINGS,
    TO_YCBCR,
    encode,
    from_blocks,
    quality_tables,
    transform,
)
from pigdm_jax.operators.jpeg_transform import JpegCoefficients, JpegTransform, planes
from pigdm_jax.operators.named import Named, Parameter

# Standard deviation of the error that quantisation counts as, in steps. That of a
# uniform error is 0.29; most are smaller. Chosen on eight BSDS500 photos at quality 10
# and 30, among 0.07 to 0.29, also with other values for coefficients quantised to 0.
ERROR_STD = 0.17
# Likewise of the rounding of planes to whole numbers.
ROUNDING_STD = 12**-0.5
# A coefficient that has left its cell moves so far into it that the planes' rounding
# seldom puts it outside again.
SAFE = 2.0


def _coefficients(luma: Any, *chroma: Any) -> JpegCoefficients:
    """Of one plane or three."""
    return JpegCoefficients(luma, *(chroma or (None, None)))


@pytree_class
class Jpeg(Operator):
    """JPEG without its lossless entropy coder; see `jpeg`."""

    luma_table: Any  # 8 x 8
    chroma_table: Any  # 8 x 8
    image_shape: ImageShape = static_field()
    subsampling: str = static_field()

    linear = False

    def apply(self, x: Image) -> JpegCoefficients:
        """The coefficients that libjpeg writes, except in blocks that the border cuts.

        There libjpeg repeats the border's pixels, and the visible part of the decoded
        block does not determine its coefficients. Here such a block has only as many
        non-zero coefficients as it has pixels, so that it does.

        Values outside of [-1, 1] are not clipped. A decoded image with values up to
        +-30 has exactly the coefficients it was decoded from; far beyond, float32 does
        not resolve quantisation steps of 1.
        """
        luma, *chroma = planes((jnp.asarray(x) + 1) * 127.5, self.subsampling)
        return _coefficients(
            encode(luma - 128, self.luma_table),
            *(encode(plane, self.chroma_table) for plane in chroma),
        )

    @property
    def _tables(self) -> JpegCoefficients:
        grey = self.image_shape[2] == 1
        chroma = [None, None] if grey else [self.chroma_table] * 2
        return JpegCoefficients(self.luma_table, *chroma)

    @property
    def _offset(self) -> JpegCoefficients:
        """The coefficients of a file for the image 0, not quantised."""
        height, width, _ = self.image_shape
        luma = transform(jnp.full((height, width), 127.5 - 128, jnp.float32))
        return _coefficients(luma, *[0.0] * (self.image_shape[2] - 1))

    def relaxed(self, y: JpegCoefficients) -> Relaxation:
        """`JpegTransform`, with the quantisation error as noise."""
        linear = JpegTransform(self.image_shape, self.subsampling)
        exact = jax.tree.map(
            lambda c, table, offset, unit: (c * table - offset) / unit,
            *(y, self._tables, self._offset, linear.unit),
        )
        noise_std = jax.tree.map(
            lambda c, table, unit: jnp.broadcast_to(
                jnp.hypot(ERROR_STD * table, ROUNDING_STD) / unit, c.shape
            ),
            *(y, self._tables, linear.unit),
        )
        return Relaxation(linear, exact, noise_std)

    def nearest(self, x: Image, y: JpegCoefficients) -> Image:
        """The image whose coefficients, not quantised, are those of x, but lie in y.

        A coefficient that has left its quantisation cell moves to the cell's border,
        or as far within as the rounding of pixels may move it.
        """
        linear = JpegTransform(self.image_shape, self.subsampling)

        def excess(k: Any, c: Any, table: Any, offset: Any, unit: Any) -> Any:
            exact = (k * unit + offset) / table
            reach = 0.5 - jnp.minimum(SAFE / table, 0.25)
            return exact - jnp.clip(exact, c - reach, c + reach)

        excesses = jax.tree.map(
            excess, linear.apply(x), y, self._tables, self._offset, linear.unit
        )
        zero = jax.tree.map(jnp.zeros_like, excesses)
        return x + self.pinv(zero) - self.pinv(excesses)

    def pinv(self, y: JpegCoefficients, damping: Damping = 0.0) -> Image:
        """The decoded image, neither rounded nor clipped; the damping must be 0."""
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

    def from_picture(self, picture: Image) -> JpegCoefficients:
        """The coefficients of the file that the picture was decoded from."""
        return self.apply(picture)

    def to_picture(self, y: JpegCoefficients) -> Image:
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
      quality: 1 to 100, on libjpeg's scale.
      subsampling: "4:2:0" (chroma averaged over 2 x 2 pixels), "4:2:2" (over 1 x 2) or
        "4:4:4"; ignored for one channel.
      tables: luma and chroma quantisation steps, 8 x 8 each, vertical frequency first;
        None for those of the quality.

    Returns:
      A non-linear operator; its measurement is `JpegCoefficients`.

    Raises:
      ValueError: if a parameter is out of range or the image has other channels.

    References: Rec. ITU-T T.81 (JPEG), T.871 (JFIF); libjpeg where they leave a choice.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.jpeg((16, 16, 3), quality=10)
      >>> y = operator.apply(jnp.zeros((16, 16, 3)))
      >>> y.y.shape, y.cb.shape, operator.pinv(y).shape
      ((2, 2, 8, 8), (1, 1, 8, 8), (16, 16, 3))
    """
    image_shape = check_image_shape(image_shape)
    if image_shape[2] not in (1, 3):
        raise ValueError(f"jpeg needs one channel or three, got {image_shape[2]}")
    check_choice("jpeg's subsampling", subsampling, SUBSAMPLINGS)
    if tables is None:
        tables = quality_tables(quality)
    pair = list(tables) if isinstance(tables, list | tuple) else []
    if [np.shape(table) for table in pair] != [(8, 8), (8, 8)]:
        raise ValueError(
            "jpeg's tables must be two arrays of 8 x 8, for luma and chroma; got "
            f"{', '.join(str(np.shape(table)) for table in pair) or given(tables)}"
        )
    arrays = [
        jnp.asarray(
            table if isinstance(table, jax.Array) else as_numbers("a table", table),
            jnp.float32,
        )
        for table in pair
    ]
    traced = any(isinstance(a, jax.core.Tracer) for a in arrays)
    if not traced and not all((a >= 1).all() for a in arrays):
        raise ValueError("every step in jpeg's tables must be at least 1")
    luma_table, chroma_table = arrays
    return Jpeg(luma_table, chroma_table, image_shape, subsampling)


def _jpeg_by_name(
    image_shape: ImageShape, quality: Any = 10, subsampling: str = "4:2:0"
) -> Operator:
    """JPEG with a quality, or with the tables of a header read from a file."""
    if isinstance(quality, int):
        return jpeg(image_shape, quality, subsampling)
    return jpeg(image_shape, subsampling=quality.subsampling, tables=quality.tables)


def _check_subsampling(values: Mapping[str, Any]) -> None:
    """Refuse a subsampling beside a file, whose header gives it.

    Raises:
      ValueError: if there are both.
    """
    if "subsampling" in values and not isinstance(values.get("quality", 10), int):
        raise ValueError(
            f"jpeg: the header of {values['quality']} gives the subsampling; leave out "
            f"{values['subsampling']}"
        )


JPEG = Named(
    "jpeg",
    _jpeg_by_name,
    "JPEG compression, 1 to 100, or as in the header of a JPEG FILE.",
    (
        Parameter("quality", int, 10, low=1, high=100, file_kind="JPEG"),
        Parameter("subsampling", str, "4:2:0", choices=tuple(SUBSAMPLINGS)),
    ),
    _check_subsampling,
    header_parameter="quality",
)
