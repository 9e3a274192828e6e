"""The architectures of networks, in flax.linen.

To add one, write its folder (module, configuration, recognition, key map) and name it
in `ARCHITECTURES`; nothing else asks which architecture a prior has.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pigdm_jax.networks.adm.recognition import Flags, Recognised, recognise
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.networks.base import Network, parameter_shapes


class Architecture(NamedTuple):
    """What a saved prior of this architecture is rebuilt from.

    Attributes:
      network: the module; its first field is the configuration.
      config: the configuration's class, a frozen dataclass of JSON values.
    """

    network: type[Network]
    config: type

    def build(self, settings: Mapping[str, Any]) -> Network:
        """The network that a configuration, as JSON values, describes."""
        return self.network(self.config(**settings))


ARCHITECTURES = {"adm": Architecture(UNet, UNetConfig)}
"""By the names that saved priors give."""


def architecture_of(network: Network) -> str:
    """The name of a network's architecture.

    Raises:
      ValueError: if it is not in `ARCHITECTURES`.
    """
    for name, architecture in ARCHITECTURES.items():
        if isinstance(network, architecture.network):
            return name
    raise ValueError(
        f"a network of type {type(network).__name__} cannot be saved; known are "
        f"{', '.join(ARCHITECTURES)}"
    )


__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Flags",
    "Network",
    "Recognised",
    "UNet",
    "UNetConfig",
    "architecture_of",
    "parameter_shapes",
    "recognise",
]
