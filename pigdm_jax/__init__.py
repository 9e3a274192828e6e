"""Image restoration with any pretrained diffusion model, by PiGDM, in JAX.

Three nouns and a verb: a `Prior` predicts the noise in a noisy image, a `Problem` is
what was measured and how, a `Sampler` is a way to sample an image that fits both, and
`restore` does so.
"""

import lazy_loader

# The names are in __init__.pyi. The command answers without importing JAX where it can.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
