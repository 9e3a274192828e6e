"""Reconstruction guidance: the transpose in the place of the pseudoinverse.

Reference: Ho, Salimans, Gritsenko, Chan, Norouzi, Fleet, "Video diffusion models",
NeurIPS 2022, equation 7, put through a DDIM step. `scale` is its w_r.
"""

from pigdm_jax.guidance import reconstruction_guidance, vdm_weight
from pigdm_jax.methods.pigdm import pigdm
from pigdm_jax.methods.rule import Rule

RECONSTRUCTION = pigdm(Rule(reconstruction_guidance, vdm_weight))._replace(
    needs="linear"
)
