"""The identity (denoising) and crops: what is seen is seen as it is."""

import jax.numpy as jnp
from jaxtyping import Float

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
    """A rectangle of the image, H H^T = I; made by `crop` or `identity`."""

    image_shape: ImageShape = static_field()
    window: tuple[int, int, int, int] = static_field()  # top, left, height, width

    linear = True
    tight = 1.0

    def apply(self, x: Image) -> Float[AnyArray, "h w C"]:
        """The pixels in the rectangle."""
        top, left, height, width = self.window
        return x[top : top + height, left : left + width]

    def pinv(self, y: Float[AnyArray, "h w C"], damping: Damping = 0.0) -> Image:
        """The rectangle over (1 + damping) in its place, zeros around it."""
        top, left, height, width = self.window
        rows, columns, _ = self.image_shape
        around = (
            (top, rows - top - height),
            (left, columns - left - width),
            (0, 0),
        )
        return jnp.pad(y / (1 + check_damping(damping)), around)


def crop(
    image_shape: ImageShape, height: int, width: int, top: int = 0, left: int = 0
) -> Crop:
    """The rectangle of `height` x `width` pixels whose corner is at (top, left).

    Raises:
      ValueError: if the rectangle is empty or leaves the image.
    """
    image_shape = check_image_shape(image_shape)
    rows, columns, _ = image_shape
    inside = 0 <= top <= rows - height and 0 <= left <= columns - width
    if not inside or min(height, width) < 1:
        raise ValueError(
            f"a crop of {height} x {width} at ({top}, {left}) does not lie in an image "
            f"of {rows} x {columns}"
        )
    return Crop(image_shape, (int(top), int(left), int(height), int(width)))


def identity(image_shape: ImageShape) -> Crop:
    """The image itself, for denoising."""
    image_shape = check_image_shape(image_shape)
    return crop(image_shape, *image_shape[:2])


CROP = Named(
    "crop",
    crop,
    "A window of the image.",
    (
        Parameter("height", int, low=1, high=65536),
        Parameter("width", int, low=1, high=65536),
        Parameter("top", int, 0, low=0, high=65536),
        Parameter("left", int, 0, low=0, high=65536),
    ),
)
IDENTITY = Named("identity", identity, "The image itself.")
