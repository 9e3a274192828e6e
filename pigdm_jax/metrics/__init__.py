"""Metrics: how good restorations are.

To add one, write it in a file here and name it in `pigdm_jax.metrics.registry`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
