"""Networks that metrics use, in the layout of their public PyTorch weights.

To add one, write its file and name it in `pigdm_jax.metrics.networks.registry`.
"""
