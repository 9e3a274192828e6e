"""Samplers: PiGDM's own, and the methods it is compared with.

To add one, write its file and name it in `pigdm_jax.samplers.registry`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
