"""What a prior is: a diffusion model of single images.

A prior is a pytree called as `prior(x_t, t) -> eps` for one image: the noise that a
diffusion model sees in x_t at network step t. It carries the schedule it was made for.
"""

import abc
from typing import Any

from jaxtyping import Int

from pigdm_jax.core.types import AnyArray, Image, ImageShape, Number
from pigdm_jax.priors.schedule import Schedule

Timestep = Number
# What it may see of the measurement besides x_t; see `Prior.sees`.
SEEN = ("pinv", "upsample")


class Prior(abc.ABC):
    """A diffusion model of single images; a frozen pytree.

    What is abstract must be written; everything else has a default.

    Attributes:
      schedule: the noise schedule of its steps; abstract.
      image_shape: the (height, width, channels) it is made for; None for any size.
      multiple: height and width must be multiples of this.
      smallest: height and width must be at least this.
      trained_size: side of the images it was trained on, where it is known.
      sees: the image besides x_t that it was trained with, in the words of `restore`'s
        `init`: "pinv" or "upsample" of the measurement; None for none.
      seen: that image, where `condition` has given one. `restore` gives it otherwise.
    """

    schedule: Schedule
    image_shape: ImageShape | None = None
    multiple: int = 1
    smallest: int = 1
    trained_size: int | None = None
    sees: str | None = None
    seen: Image | None = None

    @abc.abstractmethod
    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t at network step t, 0 .. T - 1 (a float is allowed)."""

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes that one evaluation for such an image takes at the least."""
        del image_shape
        return 0

    def rematerialised(self) -> "Prior":
        """The prior recomputing activations in the backward pass, where it can."""
        return self

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "Prior":
        """The prior given a class label, or an image that it sees besides x_t.

        Raises:
          ValueError: if it takes no such condition.
        """
        for name, value in (("class label", label), ("image besides x_t", image)):
            if value is not None:
                raise ValueError(f"this prior takes no {name}")
        return self
