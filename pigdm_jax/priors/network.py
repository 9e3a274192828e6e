"""A Flax network with its parameters, as a prior."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, ImageShape
from pigdm_jax.networks.base import Network
from pigdm_jax.priors.base import SEEN, Prior, Timestep
from pigdm_jax.priors.conversions import PREDICTIONS, as_eps
from pigdm_jax.priors.schedule import Schedule, as_schedule


@pytree_class
class NetworkPrior(Prior):
    """A network as a prior; made by `network_prior`."""

    params: Any
    label: Any  # a whole number, or None
    network: Network = static_field()
    schedule: Schedule = static_field()
    image_shape: ImageShape | None = static_field()
    predicts: str = static_field(default="eps")
    sees: str | None = static_field(default=None)
    trained_size: int | None = static_field(default=None)
    seen: Any = None  # an image, or None

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Height and width must be multiples of this."""
        return self.network.multiple

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the largest attention map and its softmax."""
        return self.network.memory(image_shape)

    def rematerialised(self) -> "NetworkPrior":
        """The prior recomputing its blocks in the backward pass."""
        if self.network.remat:
            return self
        return dataclasses.replace(self, network=self.network.clone(remat=True))

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "NetworkPrior":
        """The prior with another class label, or another image besides x_t.

        The image may be smaller than x_t; the network enlarges it linearly.

        Raises:
          ValueError: if it takes no such condition, or the label is out of range.
        """
        changes: dict[str, Any] = {}
        if label is not None:
            changes["label"] = _as_label(label, self.network.num_classes)
        if image is not None:
            if self.sees is None:
                raise ValueError("this prior takes no image besides x_t")
            changes["seen"] = jnp.asarray(image, jnp.float32)
        return dataclasses.replace(self, **changes)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t; a learned variance is dropped.

        Raises:
          ValueError: if x_t has other channels or no multiple of `multiple` pixels, or
            the image is missing that the network sees besides it.
        """
        if self.sees is not None and self.seen is None:
            raise ValueError(
                "this network sees an image besides x_t; give it one by "
                "prior.condition(image=...), as `restore` does by itself"
            )
        height, width, channels = x_t.shape
        expected = self.network.image_channels
        if channels != expected or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"this network takes images of {expected} channels whose sides are "
                f"multiples of {self.multiple}, got {x_t.shape}"
            )
        out: Any = self.network.apply(
            {"params": self.params},
            jnp.asarray(x_t)[None],
            jnp.asarray(t, jnp.float32)[None],
            None if self.label is None else self.label[None],
            None if self.seen is None else self.seen[None],
        )
        return as_eps(
            self.predicts, out[0, ..., : x_t.shape[-1]], x_t, t, self.schedule
        )


def network_prior(
    network: Network,
    params: Any,
    schedule: Schedule | str,
    label: int | np.integer | Int[AnyArray, ""] | None = None,
    *,
    predicts: str = "eps",
    sees: str | None = None,
    trained_size: int | None = None,
) -> NetworkPrior:
    """A prior from a network and its parameters.

    Args:
      network: the Flax module, for instance `UNet(config)`.
      params: its parameters, as `network.init` lays them out.
      schedule: the schedule it was trained with, or "linear" or "cosine".
      label: class index, if and only if the network has classes; a leaf, so a vmapped
        batch may hold different labels.
      predicts: what the network was trained to predict: "eps", "x0", or "v", which is
        sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans and Ho 2022).
      sees: what a network that takes an image besides x_t was trained to see: the
        measurement's "pinv", or "upsample", the small picture enlarged linearly, as
        the super-resolution networks of Dhariwal and Nichol 2021. `restore` gives it
        the image; `condition` gives another.
      trained_size: side of the images it was trained on, for `Prior.trained_size`.

    Raises:
      ValueError: if a label or `sees` is missing, superfluous or out of range, or
        `predicts` is none of these.
    """
    if predicts not in PREDICTIONS:
        raise ValueError(
            f"a network predicts {' or '.join(PREDICTIONS)}, got {predicts!r}"
        )
    classes = network.num_classes
    if classes is not None and label is None:
        raise ValueError(
            f"this network needs a class label, 0 to {classes - 1}; pass label="
        )
    if label is not None:
        label = _as_label(label, classes)
    takes_image = network.takes_image
    if takes_image != (sees is not None) or sees not in (None, *SEEN):
        raise ValueError(
            f"a network that takes an image besides x_t sees one of {', '.join(SEEN)}, "
            f"any other None; this one {'does' if takes_image else 'does not'}, and "
            f"got {sees!r}"
        )
    size = network.image_size
    return NetworkPrior(
        params=params,
        label=label,
        network=network,
        schedule=as_schedule(schedule),
        image_shape=None if size is None else (size, size, network.image_channels),
        predicts=predicts,
        sees=sees,
        trained_size=trained_size,
    )


def _as_label(label: Any, classes: int | None) -> Int[Array, "..."]:
    """A class index as an array.

    Raises:
      ValueError: if the network has no classes, or the label is out of range.
    """
    if classes is None:
        raise ValueError("this network has no classes, so it takes no label")
    known = isinstance(label, int | np.integer)
    if known and not 0 <= label < classes:
        raise ValueError(f"label must be from 0 to {classes - 1}, got {label}")
    return jnp.asarray(label, jnp.int32)
