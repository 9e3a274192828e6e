"""Measurement operators and their pseudoinverses, one module for each family."""

import lazy_loader

# The names are in __init__.pyi, so that `pigdm_jax.operators.registry` imports no JAX.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
