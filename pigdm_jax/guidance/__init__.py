"""Guidances: how a prior's prediction is pulled towards a measurement.

To add one, write its file and name it in `pigdm_jax.guidance.registry`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
