"""What the rest of the package needs to know of a network, whatever its architecture.

A network is a flax.linen module called as `network(x, t, label, image)` on a batch. Its
`apply` is stateless, which is what a pure prior wants.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.types import ImageShape

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a checkpoint's tensors, by name."""


class Network(nn.Module):
    """A network that predicts the noise in a batch of images.

    A subclass has the fields `config` (a frozen dataclass of JSON values), `dtype` (of
    convolutions and matrix products) and `remat` (recompute blocks in the backward
    pass), and a `__call__(x, t, label=None, image=None)`.
    """

    @property
    def image_channels(self) -> int:
        """Channels of the noisy image."""
        raise NotImplementedError

    @property
    def image_size(self) -> int | None:
        """Side of the images it is made for; None for any size."""
        return None

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    @property
    def num_classes(self) -> int | None:
        """Number of class labels; None if it takes none."""
        return None

    @property
    def takes_image(self) -> bool:
        """Whether it takes an image besides the noisy one."""
        return False

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes that one evaluation of such an image needs at least."""
        del image_shape
        return 0


class Recognised(NamedTuple):
    """What a checkpoint is.

    Attributes:
      network: the module.
      schedule: "linear" or "cosine".
      names: the public checkpoints that have these shapes; none if unknown.
      assumptions: settings that neither shapes nor flags determine, in phrases.
      overrides: flags that differ from what is known of `names`, in phrases.
    """

    network: Network
    schedule: str
    names: tuple[str, ...]
    assumptions: tuple[str, ...]
    overrides: tuple[str, ...]


class Architecture(NamedTuple):
    """How networks of a kind are rebuilt: from a saved prior, from a checkpoint.

    Attributes:
      network: the module; its first field is the configuration.
      config: the configuration's class, a frozen dataclass of JSON values.
      recognise: (shapes by name, flags) -> `Recognised`; raises
        `pigdm_convert.CheckpointError` for another architecture's tensors.
      check_names: (shapes by name, network) -> None; raises
        `pigdm_convert.CheckpointError` that names each wrong tensor.
      to_params: (name, array) pairs -> the network's parameters.
    """

    network: type[Network]
    config: type
    recognise: Callable[[Shapes, Any], Recognised]
    check_names: Callable[[Shapes, Any], None]
    to_params: Callable[[Iterable[tuple[str, np.ndarray]]], Any]

    def build(self, settings: Mapping[str, Any]) -> Network:
        """The network that a configuration, as JSON values, describes."""
        build: Any = self.network
        return build(self.config(**settings))


def parameter_shapes(network: Network) -> Any:
    """Shapes of the network's parameters, as a pytree; nothing is computed."""
    side = network.multiple
    x = jax.ShapeDtypeStruct((1, side, side, network.image_channels), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    label = None
    if network.num_classes is not None:
        label = jax.ShapeDtypeStruct((1,), jnp.int32)
    image = x if network.takes_image else None
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    return jax.eval_shape(network.init, key, x, t, label, image)["params"]
