"""The identity (denoising) and crops."""

import jax.numpy as jnp
from jaxtyping import Float

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    check_damping,
    check_image_shape,
)
from pigdm_jax.operators.named import Named, Parameter


@pytree_class
class Crop(Operator):
    """A rectangle of the image, for which H H^T = I; see `crop` and `identity`."""

    image_shape: ImageShape = static_field()
    window: tuple[int, int, int, int] = static_field()  # top, left, height, width

    linear = True
    tight = 1.0

    def apply(self, x: Image) -> Float[AnyArray, "h w C"]:
        """The pixels in the rectangle."""
        top, left, height, width = self.window
        return x[top : top + height, left : left + width]

    def pinv(self, y: Float[AnyArray, "h w C"], damping: Damping = 0.0) -> Image:
        """H^T y / (1 + damping): y in the rectangle and 0 around it."""
        top, left, height, width = self.window
        rows, columns, _ = self.image_shape
        pad = (
            (top, rows - top - height),
            (left, columns - left - width),
            (0, 0),
        )
        return jnp.pad(y / (1 + check_damping(damping)), pad)


def crop(
    image_shape: ImageShape, height: int, width: int, top: int = 0, left: int = 0
) -> Crop:
    """A rectangle of the image.

    Args:
      image_shape: (height, width, channels) of the image.
      height: of the rectangle in pixels.
      width: of the rectangle in pixels.
      top: first row of the rectangle.
      left: first column of the rectangle.

    Returns:
      A linear operator to images of shape (height, width, channels), H H^T = I.

    Raises:
      ValueError: if the rectangle is empty or does not lie in the image.

    Examples:
      >>> from pigdm_jax import operators
      >>> operators.crop((8, 8, 3), 4, 6, top=1, left=2).measurement_shape
      (4, 6, 3)
    """
    image_shape = check_image_shape(image_shape)
    rows, columns, _ = image_shape
    check_count("height", height)
    check_count("width", width)
    check_count("top", top, 0)
    check_count("left", left, 0)
    inside = 0 <= top <= rows - height and 0 <= left <= columns - width
    if not inside:
        raise ValueError(
            f"a crop of {height} x {width} at ({top}, {left}) does not lie in an image "
            f"of {rows} x {columns}"
        )
    return Crop(image_shape, (int(top), int(left), int(height), int(width)))


def identity(image_shape: ImageShape) -> Crop:
    """The image itself; with a noise level, the problem is denoising.

    Args:
      image_shape: (height, width, channels) of the image.

    Returns:
      A linear operator to images of the same shape.

    Raises:
      ValueError: if the shape is not three positive numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> x = jnp.ones((8, 8, 3))
      >>> bool((operators.identity((8, 8, 3)).apply(x) == x).all())
      True
    """
    image_shape = check_image_shape(image_shape)
    return crop(image_shape, *image_shape[:2])


CROP = Named(
    "crop",
    crop,
    "A rectangle of the image.",
    (
        Parameter("height", int, low=1, high=65536),
        Parameter("width", int, low=1, high=65536),
        Parameter("top", int, 0, low=0, high=65536),
        Parameter("left", int, 0, low=0, high=65536),
    ),
)
IDENTITY = Named("identity", identity, "The image itself.")
