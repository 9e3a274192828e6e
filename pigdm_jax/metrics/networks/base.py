"""Networks of metrics, and how they are made from PyTorch's tensors."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.core.types import Image

Tensors = Mapping[str, np.ndarray]
"""Arrays in PyTorch's layout, by PyTorch's names."""


class FeatureNetwork(abc.ABC):
    """A function of one image whose values metrics use; a pytree of its parameters.

    An evaluation compiles `prepare` for each size of images, and `features` once.
    """

    def prepare(self, image: Image) -> Float[Array, "..."]:
        """What `features` takes, of one shape for all images; by default the image."""
        return jnp.asarray(image)

    @abc.abstractmethod
    def features(self, prepared: Float[Array, "..."]) -> Float[Array, " n"]:
        """The features of a prepared image."""

    def __call__(self, image: Image) -> Float[Array, " n"]:
        """The features of an image, (height, width, 3) in [-1, 1]."""
        return self.features(self.prepare(image))


class NetworkSource(NamedTuple):
    """Where a network is from.

    Attributes:
      entry: its name in the catalogue of weights.
      build: the network, from the tensors of each of the entry's files.
    """

    entry: str
    build: Callable[[Sequence[Tensors]], Any]


class Layer(NamedTuple):
    """PyTorch's names of a convolution or matrix, and of its batch norm if any."""

    weight: str
    norm: str | None = None
    epsilon: float = 1e-5


def parameters(
    module: nn.Module,
    shape: tuple[int, ...],
    tensors: Tensors,
    layer: Callable[[str], Layer],
) -> Any:
    """The parameters of a network, with its batch norms folded into its convolutions.

    Args:
      module: the network, whose modules have PyTorch's names.
      shape: of an input.
      tensors: PyTorch's; those that the network has no place for are ignored.
      layer: PyTorch's names of a layer, from the module's.

    Raises:
      ValueError: if a tensor is missing, or of another shape.
    """
    key, x = jax.ShapeDtypeStruct((2,), jnp.uint32), jnp.zeros(shape)
    expected = jax.eval_shape(module.init, key, x)["params"]
    params: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(expected):
        *names, kind = (entry.key for entry in path)
        array = _folded(tensors, layer(".".join(names)))[kind]
        if array.shape != leaf.shape:
            raise ValueError(
                f"the tensor of {'.'.join(names)} has the shape {array.shape}, and "
                f"its network's has {leaf.shape}"
            )
        inner = params
        for name in names:
            inner = inner.setdefault(name, {})
        inner[kind] = jnp.asarray(array)
    return params


def _folded(tensors: Tensors, layer: Layer) -> dict[str, np.ndarray]:
    """Kernel, with output channels last, and bias.

    y = gamma (w x - mean) / sqrt(var + epsilon) + beta for a norm after w.
    """
    try:
        weight = tensors[f"{layer.weight}.weight"].astype(np.float64)
        bias = tensors.get(f"{layer.weight}.bias", np.zeros(len(weight)))
        if layer.norm is not None:
            gamma, beta, mean, var = (
                tensors[f"{layer.norm}.{name}"].astype(np.float64)
                for name in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gamma / np.sqrt(var + layer.epsilon)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = beta + (bias - mean) * scale
    except KeyError as error:
        raise ValueError(f"there is no tensor {error.args[0]}") from None
    kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
