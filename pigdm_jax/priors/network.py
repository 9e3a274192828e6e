"""A Flax network with its parameters, as a prior."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pigdm_jax.core.checks import check_flag
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, ImageShape
from pigdm_jax.networks.base import Network
from pigdm_jax.priors.base import SEEN, Prior, Timestep, check_symmetries
from pigdm_jax.priors.conversions import PREDICTIONS, predicted_eps
from pigdm_jax.priors.schedule import Schedule, as_schedule


@pytree_class
class NetworkPrior(Prior):
    """A network as a prior; made by `network_prior`.

    Attributes:
      params: the network's parameters.
      network: the Flax module.
      schedule: the schedule that it was trained with.
      image_shape: (height, width, channels) of its images; None for any size.
      predicts: "eps", "x0" or "v".
      flow: whether it was trained by flow matching.
      sees: see `Prior.sees`.
      trained_size: see `Prior.trained_size`.
      symmetries: see `Prior.symmetries`.
      seen: the image that it takes besides x_t, or None.
      label: class index as an array, or None.
    """

    params: Any
    network: Network = static_field()
    schedule: Schedule = static_field()
    image_shape: ImageShape | None = static_field()
    predicts: str = static_field(default="eps")
    sees: str | None = static_field(default=None)
    trained_size: int | None = static_field(default=None)
    flow: bool = static_field(default=False)
    symmetries: int = static_field(default=1)
    seen: Any = None
    label: Any = None

    learned = True

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Height and width must be multiples of this."""
        return self.network.multiple

    @property
    def null_label(self) -> int | None:  # type: ignore[override]
        """The label that means no class; None if there is none."""
        return self.network.null_label

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes that one evaluation takes; see `Network.memory`."""
        return self.network.memory(image_shape)

    def rematerialised(self) -> "NetworkPrior":
        """This prior, but recomputing its blocks in the backward pass."""
        if self.network.remat:
            return self
        return dataclasses.replace(self, network=self.network.clone(remat=True))

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "NetworkPrior":
        """This prior with another class label, or another image besides x_t.

        Args:
          label: class index, from 0, or `null_label`; may be traced.
          image: (h, w, C) in [-1, 1]; the network enlarges a small one linearly.

        Raises:
          ValueError: if it takes no such condition, or the label is out of range.
        """
        changes: dict[str, Any] = {}
        if label is not None:
            changes["label"] = _as_label(label, self.network)
        if image is not None:
            if self.sees is None:
                raise ValueError("this prior takes no image besides x_t")
            changes["seen"] = jnp.asarray(image, jnp.float32)
        return dataclasses.replace(self, **changes)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t; a learned variance is dropped.

        Raises:
          ValueError: if the channels of x_t are not the network's, its sides are not
            multiples of `multiple`, or the image that the network takes besides x_t is
            missing.
        """
        if self.sees is not None and self.seen is None:
            raise ValueError(
                "this network takes an image besides x_t; set it with "
                "prior.condition(image=...), as `restore` does"
            )
        height, width, channels = x_t.shape
        expected = self.network.image_channels
        if channels != expected or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"this network takes images of {expected} channels whose sides are "
                f"multiples of {self.multiple}, got {x_t.shape}"
            )
        return predicted_eps(
            self._output,
            jnp.asarray(x_t),
            t,
            self.schedule,
            predicts=self.predicts,
            flow=self.flow,
        )

    def _output(self, x: Image, t: Timestep) -> Image:
        """The network's output, without a learned variance."""
        out: Any = self.network.apply(
            {"params": self.params},
            x[None],
            jnp.asarray(t, jnp.float32)[None],
            None if self.label is None else self.label[None],
            None if self.seen is None else self.seen[None],
        )
        return out[0, ..., : x.shape[-1]]


def network_prior(
    network: Network,
    params: Any,
    schedule: Schedule | str,
    label: int | np.integer | Int[AnyArray, ""] | None = None,
    *,
    predicts: str = "eps",
    flow: bool = False,
    sees: str | None = None,
    trained_size: int | None = None,
    symmetries: int = 1,
) -> NetworkPrior:
    """A prior from a network and its parameters.

    Args:
      network: the Flax module, for instance `UNet(config)`.
      params: its parameters, in the structure of `network.init(...)["params"]`.
      schedule: the schedule that it was trained with, or "linear" or "cosine".
      label: class index, for networks with classes and only for them. It is a leaf of
        the pytree, so a vmapped batch may have different labels. A network with a null
        label needs none.
      predicts: what the network was trained to predict: "eps", "x0", or "v", which is
        sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans and Ho 2022).
      flow: whether it was trained by flow matching: it is given
        (1 - tau) x0 + tau eps and tau in [0, 1], and v is eps - x0 (Liu et al. 2023).
        `schedule` is then that of the images which the prior is given.
      sees: for a network that takes an image besides x_t, the image it was trained
        with: "pinv", the pseudoinverse of the measurement, or "upsample", the small
        picture enlarged linearly (the super-resolution networks of Dhariwal and Nichol
        2021). `restore` computes it; `condition` sets another.
      trained_size: side in pixels of the images it was trained on; None if unknown.
      symmetries: the number of mirror images that were as likely in training as the
        image itself, 1, 2, 4 or 8; see `Prior`.

    Raises:
      ValueError: if a label or `sees` is missing, superfluous or out of range,
        `predicts` or `symmetries` is none of the above, or `flow` is not True or False.

    Examples:
      >>> import jax, jax.numpy as jnp, pigdm_jax as pj
      >>> config = pj.UNetConfig(
      ...     model_channels=32,
      ...     channel_mult=(1,),
      ...     num_res_blocks=1,
      ...     attention_resolutions=(),
      ... )
      >>> network = pj.UNet(config)
      >>> x_t = jnp.zeros((8, 8, 3))
      >>> variables = network.init(jax.random.key(0), x_t[None], jnp.zeros(1))
      >>> prior = pj.network_prior(network, variables["params"], "linear")
      >>> prior(x_t, 500).shape
      (8, 8, 3)
    """
    if predicts not in PREDICTIONS:
        raise ValueError(
            f"a network predicts {' or '.join(PREDICTIONS)}, got {predicts!r}"
        )
    check_flag("flow", flow)
    check_symmetries("symmetries", symmetries)
    classes = network.num_classes
    if label is None:
        label = network.null_label
    if classes is not None and label is None:
        raise ValueError(
            f"this network needs a class label, 0 to {classes - 1}; pass label="
        )
    if label is not None:
        label = _as_label(label, network)
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
        flow=flow,
        sees=sees,
        trained_size=trained_size,
        symmetries=symmetries,
    )


def _as_label(label: Any, network: Network) -> Int[Array, "..."]:
    """A class index as an array.

    Raises:
      ValueError: if the network has no classes, or the label is out of range.
    """
    classes = network.num_classes
    if classes is None:
        raise ValueError("this network has no classes, so it takes no label")
    known = isinstance(label, int | np.integer) and label != network.null_label
    if known and not 0 <= label < classes:
        raise ValueError(f"label must be from 0 to {classes - 1}, got {label}")
    return jnp.asarray(label, jnp.int32)
