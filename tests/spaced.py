"""The samplers that visit noise levels in turn: those that wrap none."""

from pigdm_jax.samplers import SAMPLERS, Spaced

SPACED = {name: kind for name, kind in SAMPLERS.items() if issubclass(kind, Spaced)}
