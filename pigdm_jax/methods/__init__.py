"""Restoration methods: PiGDM with its samplers, and others over the same priors."""

from collections.abc import Callable

from pigdm_jax.methods.base import Method
from pigdm_jax.methods.ccdf import CCDF
from pigdm_jax.methods.conjugate import conjugate
from pigdm_jax.methods.ddnm import DDNM
from pigdm_jax.methods.ddrm import DDRM
from pigdm_jax.methods.diffpir import DIFFPIR
from pigdm_jax.methods.dps import DPS
from pigdm_jax.methods.multistep import multistep
from pigdm_jax.methods.pigdm import pigdm
from pigdm_jax.methods.pnp import PNP
from pigdm_jax.methods.reconstruction import RECONSTRUCTION
from pigdm_jax.methods.red_diff import RED_DIFF
from pigdm_jax.methods.rule import Rule
from pigdm_jax.methods.snips import SNIPS

PIGDM = "pigdm"
SAMPLERS: dict[str, Callable[[Rule], Method]] = {
    "ddim": pigdm,
    "multistep": multistep,
    "conjugate": conjugate,
}
"""Of PiGDM, each for any rule."""

METHODS: dict[str, Method] = {
    "reconstruction": RECONSTRUCTION,
    "dps": DPS,
    "ddrm": DDRM,
    "ddnm": DDNM,
    "diffpir": DIFFPIR,
    "red_diff": RED_DIFF,
    "snips": SNIPS,
    "pnp": PNP,
    "ccdf": CCDF,
}
"""Besides PiGDM."""
