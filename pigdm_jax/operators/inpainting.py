"""Inpainting: the pixels where a mask is 1."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from numpy.typing import ArrayLike

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    Spectrum,
    check_damping,
    check_image_shape,
)
from pigdm_jax.operators.masks import (
    center_mask,
    check_mask,
    freeform_mask,
    random_mask,
)
from pigdm_jax.operators.named import Named, Parameter


@pytree_class
class Inpaint(Operator):
    """The pixels where the mask is 1; see `inpaint`."""

    mask: Any  # H x W x (1 or C)
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Image:
        """The image with hidden pixels set to 0 (mid grey)."""
        return self.mask * x

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """H^T y / (1 + damping): the kept pixels, and 0 elsewhere."""
        return self.mask * y / (1 + check_damping(damping))

    @property
    def gram(self) -> Image:
        """The mask, in the image's shape."""
        return jnp.broadcast_to(self.mask, self.image_shape)

    @property
    def spectrum(self) -> Spectrum:
        """V = I: the mask's values are the singular values."""
        return Spectrum(self.mask, jnp.asarray, lambda k: k)

    def from_picture(self, picture: Image) -> Image:
        """The picture with hidden pixels set to 0, whatever the file has there."""
        return self.mask * picture


def inpaint(image_shape: ImageShape, mask: ArrayLike) -> Inpaint:
    """The pixels where `mask` is 1; those where it is 0 are hidden.

    Args:
      image_shape: (height, width, channels) of the image.
      mask: zeros and ones, (height, width), (height, width, 1) or the image's shape.

    Returns:
      A linear operator to images of the same shape, 0 where hidden.

    Raises:
      ValueError: if the mask has another shape or other values.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> mask = operators.center_mask((8, 8, 3), size=4)
      >>> operator = operators.inpaint((8, 8, 3), mask)
      >>> float(operator.apply(jnp.ones((8, 8, 3))).mean())
      0.75
    """
    image_shape = check_image_shape(image_shape)
    return Inpaint(check_mask(image_shape, mask), image_shape)


def _inpaint_by_name(
    image_shape: ImageShape,
    mask: str | ArrayLike = "freeform",
    amount: float | None = None,
    seed: int = 0,
) -> Inpaint:
    """Inpainting with a generated mask, or one that was read from a file."""
    if not isinstance(mask, str):
        return inpaint(image_shape, mask)
    if mask == "center":
        side = min(image_shape[:2]) // 2 if amount is None else int(amount)
        return inpaint(image_shape, center_mask(image_shape, side))
    if mask == "random":
        keep = 0.5 if amount is None else amount
        return inpaint(image_shape, random_mask(image_shape, keep, seed))
    return inpaint(image_shape, freeform_mask(image_shape, seed))


def _check_parameters(values: Mapping[str, Any]) -> None:
    """Check amount and seed, whose meaning depends on the kind of mask.

    Raises:
      ValueError: if the mask has no amount or no seed, or not this amount.
    """
    mask, amount = values.get("mask", "freeform"), values.get("amount")
    if "seed" in values and mask not in ("random", "freeform"):
        raise ValueError(
            f"inpaint: only random and freeform masks have a seed, got {values['seed']}"
        )
    if amount is None:
        return
    if mask == "center" and amount != int(amount):
        raise ValueError(
            f"inpaint: the side of a center mask must be a whole number of pixels, got "
            f"{amount}"
        )
    if mask == "random" and not 0 < amount <= 1:
        raise ValueError(
            "inpaint: the fraction of pixels that a random mask keeps must be above 0 "
            f"and at most 1, got {amount}"
        )
    if mask not in ("center", "random"):
        raise ValueError(
            f"inpaint: only center and random masks have an amount, got {amount}"
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
    _check_parameters,
    file_parameter="mask",
)
