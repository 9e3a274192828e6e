"""The architectures of networks, in flax.linen.

To add one, write its folder (module, configuration, recognition, key map) and name it
in `pigdm_jax.networks.registry`; nothing else asks which architecture a prior has.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
