"""Inpainting: some pixels are seen, the others are not; and makers of masks."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from PIL import Image as PillowImage
from PIL import ImageDraw

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import PRNGKey
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    Spectrum,
    check_damping,
    check_image_shape,
)
from pigdm_jax.operators.named import Named, Parameter

Mask = Float[Array, "H W 1"]
Seed = int | PRNGKey


@pytree_class
class Inpaint(Operator):
    """Keeps the pixels where the mask is 1; made by `inpaint`."""

    mask: Any  # H x W x (1 or C)
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """The image with hidden pixels set to 0 (mid grey)."""
        return self.mask * x

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The kept pixels over (1 + damping)."""
        return self.mask * y / (1 + check_damping(damping))

    @property
    def gram(self) -> Image:
        """The mask."""
        return jnp.broadcast_to(self.mask, self.image_shape)

    @property
    def spectrum(self) -> Spectrum:
        """The pixels."""
        return Spectrum(self.mask, lambda x: x, lambda k: k)

    def from_picture(self, picture: Image) -> Image:
        """The picture without whatever it shows where pixels are hidden."""
        return self.mask * picture


def inpaint(image_shape: ImageShape, mask: ArrayLike) -> Inpaint:
    """Keep the pixels where `mask` is 1, hide those where it is 0.

    Args:
      image_shape: (height, width, channels) of the image.
      mask: zeros and ones, (height, width), (height, width, 1) or the image's shape.

    Raises:
      ValueError: if the mask is of another size or holds other values.
    """
    image_shape = check_image_shape(image_shape)
    return Inpaint(check_mask(image_shape, mask), image_shape)


def check_mask(image_shape: ImageShape, mask: ArrayLike) -> Float[Array, "H W c"]:
    """A mask with a channel axis, if it is one for such images.

    Raises:
      ValueError: if the mask is of another size or holds other values than 0 and 1.
    """
    shape = jnp.shape(mask)
    if shape not in (image_shape[:2], (*image_shape[:2], 1), image_shape):
        raise ValueError(
            f"the mask has shape {shape}, the image is {image_shape[0]} x "
            f"{image_shape[1]} with {image_shape[2]} channels; they must agree"
        )
    if not isinstance(mask, jax.core.Tracer):
        if not np.isin(np.asarray(mask), (0, 1)).all():
            raise ValueError("a mask holds only 0 (hidden) and 1 (kept)")
    mask = jnp.asarray(mask, jnp.float32)
    return mask[..., None] if mask.ndim == 2 else mask


def center_mask(image_shape: ImageShape, size: int = 128) -> Mask:
    """Hides a square of `size` pixels in the middle.

    Raises:
      ValueError: if the square does not leave any pixel.
    """
    height, width, _ = check_image_shape(image_shape)
    if not 1 <= size < max(height, width):
        raise ValueError(
            f"a hidden square of {size} pixels must be smaller than the image, "
            f"{height} x {width}"
        )
    mask = np.ones((height, width, 1), np.float32)
    top, left = max(height - size, 0) // 2, max(width - size, 0) // 2
    mask[top : top + size, left : left + size] = 0
    return jnp.asarray(mask)


def random_mask(image_shape: ImageShape, keep: float, key: Seed = 0) -> Mask:
    """Keeps a share of the pixels, round(keep * height * width), drawn at random.

    Args:
      image_shape: (height, width, channels) of the image.
      keep: share of pixels kept, above 0 and at most 1.
      key: a `jax.random` key or a seed.

    Raises:
      ValueError: if `keep` is out of range.
    """
    height, width, _ = check_image_shape(image_shape)
    if not 0 < keep <= 1:
        raise ValueError(f"keep is a share of pixels above 0 and up to 1, got {keep}")
    number = max(round(keep * height * width), 1)
    kept = jnp.arange(height * width) < number
    shuffled = jax.random.permutation(as_key(key), kept)
    return shuffled.astype(jnp.float32).reshape(height, width, 1)


def freeform_mask(
    image_shape: ImageShape, key: Seed = 0, hidden: tuple[float, float] = (0.2, 0.3)
) -> Mask:
    """Hides brush strokes that cover 20 to 30 % of the image.

    Args:
      image_shape: (height, width, channels) of the image.
      key: a `jax.random` key or a seed.
      hidden: least and largest share of hidden pixels.

    Raises:
      ValueError: if the shares are not 0 < least < largest < 1.
    """
    height, width, _ = check_image_shape(image_shape)
    least, largest = hidden
    if not 0 < least < largest < 1:
        raise ValueError(f"hidden must be 0 < least < largest < 1, got {hidden}")
    seed = np.asarray(jax.random.key_data(as_key(key))).ravel().tolist()
    rng = np.random.default_rng(seed)
    canvas = PillowImage.new("1", (width, height), 1)
    while (share := 1 - np.asarray(canvas).mean()) < least:
        longer = canvas.copy()
        # A stroke too large for what is left is drawn again, thinner each time.
        _draw_stroke(longer, rng, thickness=max(largest - share, 0.01))
        if 1 - np.asarray(longer).mean() <= largest:
            canvas = longer
    return jnp.asarray(np.asarray(canvas), jnp.float32)[..., None]


def _draw_stroke(
    canvas: PillowImage.Image, rng: np.random.Generator, thickness: float
) -> None:
    """One stroke of a round brush along a path that turns a little at each point."""
    size = np.array(canvas.size, float)
    points = [rng.uniform(0, 1, 2) * size]
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(2, 7)):
        angle += rng.uniform(-0.9, 0.9)
        length = rng.uniform(0.08, 0.25) * size.min()
        forward = length * np.array([np.cos(angle), np.sin(angle)])
        points.append(np.clip(points[-1] + forward, 0, size - 1))
    brush = max(1, round(rng.uniform(0.1, 0.3) * thickness * size.min()))
    draw = ImageDraw.Draw(canvas)
    path = [tuple(p) for p in points]
    draw.line(path, fill=0, width=brush, joint="curve")
    for x, y in path:
        r = brush / 2
        draw.ellipse((x - r, y - r, x + r, y + r), fill=0)


def as_key(key: Seed) -> jax.Array:
    """The key itself, or the one of a seed."""
    return jax.random.key(key) if isinstance(key, int) else key


def _inpaint_by_name(
    image_shape: ImageShape,
    mask: str | ArrayLike = "freeform",
    amount: float | None = None,
    seed: int = 0,
) -> Inpaint:
    """Inpainting with a mask made by name, or with one that was read from a file."""
    if not isinstance(mask, str):
        return inpaint(image_shape, mask)
    if mask == "center":
        side = min(image_shape[:2]) // 2 if amount is None else int(amount)
        return inpaint(image_shape, center_mask(image_shape, side))
    if mask == "random":
        keep = 0.5 if amount is None else amount
        return inpaint(image_shape, random_mask(image_shape, keep, seed))
    return inpaint(image_shape, freeform_mask(image_shape, seed))


def _check_amount(values: Mapping[str, Any]) -> None:
    """Refuse an amount that the kind of mask cannot have.

    Raises:
      ValueError: in one sentence.
    """
    mask, amount = values.get("mask", "freeform"), values.get("amount")
    if amount is None:
        return
    if mask == "center" and amount != int(amount):
        raise ValueError(
            f"inpaint: the side of a center mask is a whole number of pixels, got "
            f"{amount}"
        )
    if mask == "random" and not 0 < amount <= 1:
        raise ValueError(
            "inpaint: a random mask keeps a part of the pixels above 0 and at most 1, "
            f"got {amount}"
        )
    if mask not in ("center", "random"):
        raise ValueError(
            f"inpaint: only center and random have an amount, got {amount}"
        )


INPAINT = Named(
    "inpaint",
    _inpaint_by_name,
    "Hidden pixels: center,SIZE | random,KEEP,SEED | freeform,,SEED | a mask FILE.",
    (
        Parameter(
            "mask",
            str,
            "freeform",
            choices=("center", "random", "freeform"),
            file_kind="mask",
        ),
        Parameter("amount", float, None, low=0, high=65536),
        Parameter("seed", int, 0, low=0, high=2**32 - 1),
    ),
    _check_amount,
)
