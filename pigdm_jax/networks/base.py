"""What the rest of the package needs to know of a network, whatever its architecture.

A network is a flax.linen module called as `network(x, t, label, image)` on a batch. Its
`apply` is stateless, which is what a pure prior wants.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pigdm_jax.core.types import ImageShape


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
