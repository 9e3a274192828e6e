"""The base class of priors: diffusion models of single images."""

import abc
from typing import Any

from jaxtyping import Int

from pigdm_jax.core.checks import given
from pigdm_jax.core.types import AnyArray, Image, ImageShape, Number
from pigdm_jax.priors.schedule import Schedule

Timestep = Number
# The images that a prior may take besides x_t; see `Prior.sees`.
SEEN = ("pinv", "upsample")
# The values of `Prior.symmetries`.
SYMMETRIES = (1, 2, 4, 8)


def check_symmetries(name: str, value: Any) -> None:
    """Check a number of mirror images.

    Raises:
      ValueError: if it is not one of `SYMMETRIES`.
    """
    if isinstance(value, bool) or value not in SYMMETRIES:
        raise ValueError(f"{name} must be 1, 2, 4 or 8, got {given(value)}")


def check_prior(prior: Any) -> None:
    """Check that an argument is a prior with a schedule.

    Raises:
      TypeError: if it is none.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"prior must be a pigdm_jax.Prior, got {given(prior)}")
    if not isinstance(prior.schedule, Schedule):
        raise TypeError(
            "a prior's schedule must be a pigdm_jax.Schedule, got "
            f"{given(prior.schedule)}"
        )


class Prior(abc.ABC):
    """A diffusion model of single images; a frozen pytree.

    A prior is called as `prior(x_t, t) -> eps` for one image and predicts the noise in
    x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps at network step t. A subclass
    implements `__call__` and has a `schedule`; everything else has a default, which a
    field or a property overrides.

    Attributes:
      schedule: the noise schedule that it was trained with.
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.
      smallest: smallest height and width.
      trained_size: side in pixels of the images it was trained on; None if unknown.
      learned: whether it is a trained network, whose gradient has errors.
      symmetries: the number of mirror images of an image, itself included, that are as
        likely as the image: 1, 2 (left-right), 4 (and upside down) or 8 (and
        transposed). `samplers.default` lets them decide over how many to average.
      sees: the image that it takes besides x_t: "pinv" or "upsample" of the
        measurement, as in `restore`'s `init`; None if it takes none.
      seen: that image, (H, W, C), if `condition` has set it; otherwise `restore` does.
      label: the class label that it has, if it takes one.
      null_label: the label that means no class; None if there is none.

    Examples:
      A prior of white images, eps = sqrt(1 - alpha_bar) x_t:

      >>> import jax.numpy as jnp, numpy as np, pigdm_jax as pj
      >>> @pj.pytree_class
      ... class White(pj.Prior):
      ...     schedule: pj.Schedule = pj.static_field(default=pj.Schedule.linear())
      ...     def __call__(self, x_t, t):
      ...         _, b_t = pj.priors.schedule.alpha_bar_at(self.schedule, t)
      ...         return jnp.sqrt(b_t) * x_t
      >>> White()(np.ones((4, 4, 1), np.float32), 999).shape
      (4, 4, 1)
    """

    # Not abstract properties: a dataclass field without a default cannot override a
    # property, because the property has no setter.

    schedule: Schedule
    image_shape: ImageShape | None = None
    multiple: int = 1
    smallest: int = 1
    trained_size: int | None = None
    learned: bool = False
    symmetries: int = 1
    sees: str | None = None
    seen: Image | None = None
    label: Any = None
    null_label: int | None = None

    @abc.abstractmethod
    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """Predict the noise in a noisy image.

        Args:
          x_t: the noisy image, (H, W, C).
          t: the network's step, 0 .. T - 1; may be a fraction.

        Returns:
          eps, (H, W, C), of unit variance.
        """

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes that one evaluation takes for such an image."""
        del image_shape
        return 0

    def rematerialised(self) -> "Prior":
        """This prior, but recomputing activations in the backward pass if it can."""
        return self

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "Prior":
        """This prior with a class label, or with an image that it takes besides x_t.

        Args:
          label: class index, from 0.
          image: (H, W, C) in [-1, 1].

        Raises:
          ValueError: if it takes no such condition, or the label is out of range.
        """
        for name, value in (("class label", label), ("image besides x_t", image)):
            if value is not None:
                raise ValueError(f"this prior takes no {name}")
        return self
