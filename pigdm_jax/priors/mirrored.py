"""A prior that sees mirror images."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Int

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, ImageShape
from pigdm_jax.priors.base import SYMMETRIES, Prior, Timestep
from pigdm_jax.priors.wrapper import PriorWrapper


@pytree_class
class MirroredPrior(PriorWrapper):
    """A prior evaluated on a mirror image of x_t; its prediction is mirrored back.

    A network is not exactly equivariant, so that this is another prior. Where all
    mirror images are equally likely, it is as good, and the mean of several has a
    smaller error.

    Attributes:
      prior: the prior.
      view: number of the mirror image, 0 .. views - 1; 0 is x_t itself.
      views: number of mirror images: 1, 2 (left-right), 4 (and upside down) or 8 (and
        transposed).

    Reference: Timofte, Rothe, Van Gool 2016, Seven ways to improve example-based single
    image super resolution, section 3.6.
    """

    prior: Any
    view: Any
    views: int = static_field()

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t."""
        x_t = mirrored(x_t, self.view, self.views)
        return mirrored(self.prior(x_t, t), self.view, self.views, back=True)


def mirrored(
    x: Image, view: Int[AnyArray, ""] | int, views: int, *, back: bool = False
) -> Image:
    """One of the views of an image, or (`back`) the image of which x is that view."""
    mirrors = [lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x.swapaxes(0, 1)]
    order = list(enumerate(mirrors[: views.bit_length() - 1]))
    for bit, mirror in reversed(order) if back else order:
        x = jnp.where((view >> bit) & 1, mirror(x), x)
    return x


def check_views(views: int, prior: Prior, image_shape: ImageShape) -> None:
    """Check that an image and a prior have a number of mirror images.

    Raises:
      ValueError: if an image that is not square would have to be transposed, or the
        prior takes an image besides x_t.
    """
    height, width, _ = image_shape
    if views == max(SYMMETRIES) and height != width:
        raise ValueError(
            f"eight views need a square image, got {height} x {width}; take four"
        )
    if views > 1 and prior.sees is not None:
        raise ValueError("a prior that takes an image besides x_t has one view")
