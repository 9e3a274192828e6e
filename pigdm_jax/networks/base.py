"""The interface between networks and the rest of the package."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.brief import fields_of
from pigdm_jax.core.types import ImageShape

# Of a configuration's numbers, and of its lists.
LARGEST, LONGEST = 2**17, 16

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a checkpoint's tensors, by name."""

Documents = Mapping[str, Mapping[str, Any]]
"""JSON documents beside a checkpoint's tensors: "config" and "scheduler", if any."""


class Network(nn.Module):
    """A flax.linen module that predicts the noise in a batch of images.

    A subclass has the fields `config` (a frozen dataclass of JSON values), `dtype` (the
    type of convolutions and matrix products) and `remat` (whether blocks are recomputed
    in the backward pass), and a method `__call__(x, t, label=None, image=None)`.
    """

    def __repr__(self) -> str:
        return fields_of(self, ("config", "dtype", "remat"))

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image."""
        raise NotImplementedError

    @property
    def image_size(self) -> int | None:
        """Side in pixels of its images; None for any size."""
        return None

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None if it takes no label."""
        return None

    @property
    def null_label(self) -> int | None:
        """The label that means no class; None if it takes none or must have a class."""
        return None

    @property
    def takes_image(self) -> bool:
        """Whether it takes an image besides the noisy one."""
        return False

    @property
    def zero_layers(self) -> tuple[str, ...]:
        """Names of layers whose kernels are 0 before training."""
        return ()

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of parameters, of the network itself, that are not trained."""
        return ()

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes that one evaluation takes for such an image."""
        del image_shape
        return 0


class Recognised(NamedTuple):
    """A network recognised in a checkpoint.

    Attributes:
      network: the module.
      schedule: "linear", "cosine", or betas.
      names: the public checkpoints that have these shapes; none if unknown.
      assumptions: settings that neither shapes nor flags determine, as phrases.
      overrides: flags that differ from the settings of `names`, as phrases.
      predicts: what it predicts: "eps", "x0" or "v".
      flow: whether it was trained by flow matching; see `network_prior`.
    """

    network: Network
    schedule: str | tuple[float, ...]
    names: tuple[str, ...]
    assumptions: tuple[str, ...]
    overrides: tuple[str, ...]
    predicts: str = "eps"
    flow: bool = False


class Sizes(NamedTuple):
    """Sizes of a network, as `pigdm train` takes them; see `TrainConfig`.

    None where the size is not given; as an architecture's defaults, where it has no
    such size.
    """

    channels: int | None = None
    channel_mult: tuple[int, ...] | None = None
    blocks: int | None = None
    attention: tuple[int, ...] | None = None
    resampling: str | None = None
    patch: int | None = None


class NewNetwork(NamedTuple):
    """What a network that is trained from scratch must be.

    Attributes:
      sizes: those that its architecture has, none of them None.
      crops: sides in pixels of the images that it is trained on.
      num_classes: number of classes; None if it takes no label.
      takes_image: whether it takes an image besides the noisy one.
      flow: whether it is trained by flow matching.
    """

    sizes: Any
    crops: tuple[int, ...]
    num_classes: int | None
    takes_image: bool
    flow: bool

    def check_takes_no_image(self, title: str) -> None:
        """Refuse an image besides the noisy one, for an architecture without it.

        Args:
          title: of the architecture.

        Raises:
          ValueError: if the network is to take one.
        """
        if self.takes_image:
            raise ValueError(
                f"{title} takes no image besides the noisy one; --condition needs "
                "--architecture adm"
            )


class Architecture(NamedTuple):
    """An architecture: how its networks are built, converted and trained.

    Attributes:
      title: what it is called in messages, with its article.
      marks: beginnings of names that its checkpoints' tensors have; a checkpoint is
        taken for the architecture that has the most of its tensors.
      network: the module's class; its first field is the configuration.
      config: the configuration's class, a frozen dataclass of JSON values.
      recognise: (shapes by name, flags, documents) -> `Recognised`; raises
        `pigdm_convert.CheckpointError` for another architecture's tensors.
      check_names: (shapes by name, network) -> None; raises
        `pigdm_convert.CheckpointError` that names each wrong tensor.
      to_params: ((name, array) pairs, network) -> the network's parameters.
      sizes: the default sizes of a network that is trained from scratch.
      untrained: `NewNetwork` -> the network; raises ValueError for one that the
        architecture does not have.
    """

    title: str
    marks: tuple[str, ...]
    network: type[Network]
    config: type
    recognise: Callable[[Shapes, Any, Documents], Recognised]
    check_names: Callable[[Shapes, Any], None]
    to_params: Callable[[Iterable[tuple[str, np.ndarray]], Any], Any]
    sizes: Sizes
    untrained: Callable[[NewNetwork], Network]

    def build(self, settings: Mapping[str, Any]) -> Network:
        """The network with a configuration, given as JSON values.

        Raises:
          ValueError: if a setting is missing, unknown or of another type.
        """
        fields = {field.name: field for field in dataclasses.fields(self.config)}
        for name, value in settings.items():
            if name not in fields or not _fits(value, fields[name].type):
                raise ValueError(
                    f"the network has no setting {name!r:.40} of {value!r:.40}"
                )
        missing = [
            name
            for name, field in fields.items()
            if field.default is dataclasses.MISSING and name not in settings
        ]
        if missing:
            raise ValueError(f"the network's setting {missing[0]} is missing")
        build: Any = self.network
        return build(self.config(**settings))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type, and no number that no network has."""
    if typing.get_origin(kind) is Sequence:
        (inner,) = typing.get_args(kind)
        few = isinstance(value, list | tuple) and len(value) <= LONGEST
        return few and all(_fits(item, inner) for item in value)
    kinds = typing.get_args(kind) or (kind,)
    if float in kinds and type(value) is int:
        value = float(value)
    if type(value) in (int, float):
        return type(value) in kinds and -1 <= value <= LARGEST
    return type(value) in kinds


def parameter_shapes(network: Network) -> Any:
    """A pytree of the shapes of the network's parameters; computes nothing."""
    side = network.image_size or network.multiple
    x = jax.ShapeDtypeStruct((1, side, side, network.image_channels), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    label = None
    if network.num_classes is not None:
        label = jax.ShapeDtypeStruct((1,), jnp.int32)
    image = x if network.takes_image else None
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    return jax.eval_shape(network.init, key, x, t, label, image)["params"]
