"""The architectures of networks, in flax.linen.

To add one, write its folder (module, configuration, recognition, key map) and add a
line in `pigdm_jax.networks.registry`. No other part of the package depends on the
architecture of a prior.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
