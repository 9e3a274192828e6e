"""Masks for inpainting: a square, random pixels, brush strokes."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from PIL import Image as PillowImage
from PIL import ImageDraw

from pigdm_jax.core.arrays import as_numbers, check_key
from pigdm_jax.core.checks import check_count, check_one_number, given
from pigdm_jax.core.types import PRNGKey
from pigdm_jax.operators.base import ImageShape, check_image_shape

Mask = Float[Array, "H W 1"]
Seed = int | PRNGKey
# Strokes in a row; in images of 4 x 4 pixels at most 76 of 30 masks.
MOST_DROPPED = 1000


def check_mask(image_shape: ImageShape, mask: ArrayLike) -> Float[Array, "H W c"]:
    """A mask in float32 with a channel axis.

    Args:
      image_shape: (height, width, channels) of the image.
      mask: zeros and ones, (height, width), (height, width, 1) or the image's shape.

    Raises:
      ValueError: if the mask has another shape or other values than 0 and 1.
    """
    if not isinstance(mask, jax.Array):
        mask = as_numbers("the mask", mask)
    shape = np.shape(mask)
    if shape not in (image_shape[:2], (*image_shape[:2], 1), image_shape):
        if len(shape) == 2:
            raise ValueError(
                f"the mask is {shape[0]} x {shape[1]} pixels (height x width), the "
                f"image that it is for {image_shape[0]} x {image_shape[1]}; make the "
                "mask as large as the image, pixel for pixel"
            )
        raise ValueError(
            f"the mask has shape {shape}, the image is {image_shape[0]} x "
            f"{image_shape[1]} with {image_shape[2]} channels; they must agree"
        )
    traced = isinstance(mask, jax.core.Tracer)
    if not traced and not np.isin(np.asarray(mask), (0, 1)).all():
        raise ValueError("a mask must contain only 0 (hidden) and 1 (kept)")
    array = jnp.asarray(mask, jnp.float32)
    return array[..., None] if array.ndim == 2 else array


def center_mask(image_shape: ImageShape, size: int = 128) -> Mask:
    """A mask that hides a square in the middle of the image.

    Args:
      image_shape: (height, width, channels) of the image.
      size: side of the square in pixels, below the image's larger side.

    Returns:
      A mask (height, width, 1).

    Raises:
      ValueError: if the square would hide all pixels or is empty.

    Examples:
      >>> from pigdm_jax import operators
      >>> mask = operators.center_mask((8, 8, 3), size=4)
      >>> mask.shape, float(mask.sum())
      ((8, 8, 1), 48.0)
    """
    height, width, _ = check_image_shape(image_shape)
    check_count("the size of a hidden square", size)
    if not size < max(height, width):
        raise ValueError(
            f"a hidden square of {size} pixels must be smaller than the image, "
            f"{height} x {width}"
        )
    mask = np.ones((height, width, 1), np.float32)
    top, left = max(height - size, 0) // 2, max(width - size, 0) // 2
    mask[top : top + size, left : left + size] = 0
    return jnp.asarray(mask)


def random_mask(image_shape: ImageShape, keep: float, key: Seed = 0) -> Mask:
    """A mask that keeps round(keep * height * width) pixels, drawn at random.

    Args:
      image_shape: (height, width, channels) of the image.
      keep: fraction of pixels kept, above 0 and at most 1.
      key: a `jax.random` key or a seed.

    Returns:
      A mask (height, width, 1).

    Raises:
      ValueError: if `keep` is out of range.

    Examples:
      >>> from pigdm_jax import operators
      >>> float(operators.random_mask((8, 8, 3), keep=0.25).mean())
      0.25
    """
    height, width, _ = check_image_shape(image_shape)
    check_one_number("keep, a fraction of the pixels,", keep, 0, 1, above=True)
    number = max(round(keep * height * width), 1)
    kept = jnp.arange(height * width) < number
    shuffled = jax.random.permutation(as_key(key), kept)
    return shuffled.astype(jnp.float32).reshape(height, width, 1)


def freeform_mask(
    image_shape: ImageShape, key: Seed = 0, hidden: tuple[float, float] = (0.2, 0.3)
) -> Mask:
    """A mask that hides random brush strokes, by default 20 to 30 % of the image.

    Args:
      image_shape: (height, width, channels) of the image.
      key: a `jax.random` key or a seed.
      hidden: smallest and largest fraction of hidden pixels.

    Returns:
      A mask (height, width, 1).

    Raises:
      ValueError: unless 0 < smallest < largest < 1, or if the image has too few
        pixels.

    Examples:
      >>> from pigdm_jax import operators
      >>> mask = operators.freeform_mask((32, 32, 3))
      >>> 0.7 <= float(mask.mean()) <= 0.8
      True
    """
    height, width, _ = check_image_shape(image_shape)
    pair = hidden if isinstance(hidden, tuple | list) else ()
    if not (
        len(pair) == 2
        and all(isinstance(n, int | float | np.number) for n in pair)
        and 0 < pair[0] < pair[1] < 1
    ):
        raise ValueError(
            "hidden must be two fractions, 0 < smallest < largest < 1, got "
            f"{given(hidden)}"
        )
    smallest, largest = pair
    seed = np.asarray(jax.random.key_data(as_key(key))).ravel().tolist()
    rng = np.random.default_rng(seed)
    canvas, dropped = PillowImage.new("1", (width, height), 1), 0
    while (fraction := 1 - np.asarray(canvas).mean()) < smallest:
        candidate = canvas.copy()
        # A stroke that hides too much is dropped, and the next one is drawn.
        _draw_stroke(candidate, rng, thickness=max(largest - fraction, 0.01))
        if fraction < 1 - np.asarray(candidate).mean() <= largest:
            canvas, dropped = candidate, 0
            continue
        dropped += 1
        if dropped == MOST_DROPPED:
            raise ValueError(
                f"brush strokes cannot hide {smallest:.0%} to {largest:.0%} of "
                f"{height} x {width} pixels; use a larger image, or a center or random "
                "mask"
            )
    return jnp.asarray(np.asarray(canvas), jnp.float32)[..., None]


def _draw_stroke(
    canvas: PillowImage.Image, rng: np.random.Generator, thickness: float
) -> None:
    """Draw one stroke of a round brush along a path of up to six random turns.

    Args:
      canvas: drawn on in place; hidden pixels are 0.
      rng: for the path and the brush.
      thickness: of the brush, relative to the canvas's smaller side.
    """
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
    """The key itself, or the key of a seed.

    Raises:
      TypeError: if it is neither.
      ValueError: if the seed has more than 63 bits.
    """
    if isinstance(key, np.integer):
        key = int(key)
    if not isinstance(key, int) or isinstance(key, bool):
        check_key("key, unless it is a whole number,", key)
        return jnp.asarray(key)
    if not -(2**63) <= key < 2**63:
        raise ValueError(f"a seed must have at most 63 bits, got {key}")
    return jax.random.key(key)
