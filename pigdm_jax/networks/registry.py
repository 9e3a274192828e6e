"""Architectures by their names in saved priors."""

from typing import TYPE_CHECKING

from pigdm_jax.core.lazy import LazyMapping

if TYPE_CHECKING:
    import pigdm_jax.networks.base

ARCHITECTURES: LazyMapping["pigdm_jax.networks.base.Architecture"] = LazyMapping(
    {
        "adm": "pigdm_jax.networks.adm.architecture:ADM",
        "ddpm": "pigdm_jax.networks.ddpm.architecture:DDPM",
        "jit": "pigdm_jax.networks.pixel_transformer.architecture:JIT",
    }
)


def architecture_of(network: "pigdm_jax.networks.base.Network") -> str:
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
