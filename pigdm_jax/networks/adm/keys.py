"""Conversion of names from PyTorch to `pigdm_jax.networks.adm`."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pigdm_jax.networks import keys
from pigdm_jax.networks.adm.unet import UNet
from pigdm_jax.networks.base import Shapes


def check_names(shapes: Shapes, network: UNet) -> None:
    """Compare the tensors of a checkpoint with those of a network.

    Raises:
      CheckpointError: that names every tensor that is missing, superfluous or of
        another shape.
    """
    keys.check_names(shapes, keys.places(network, keys.torch_key))


def to_params(tensors: Iterable[tuple[str, np.ndarray]], network: UNet) -> Any:
    """The parameters of a network on the CPU, from arrays by PyTorch's names."""
    return keys.to_params(tensors, keys.places(network, keys.torch_key))
