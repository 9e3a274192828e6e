"""Restoration methods: PiGDM with its samplers, and others over the same priors."""

import sys
from collections.abc import Callable

from pigdm_jax.methods.base import Method
from pigdm_jax.methods.ccdf import CCDF
from pigdm_jax.methods.conjugate import conjugate
from pigdm_jax.methods.ddnm import DDNM
from pigdm_jax.methods.ddrm import DDRM
from pigdm_jax.methods.diffpir import DIFFPIR
from pigdm_jax.methods.dps import DPS
from pigdm_jax.methods.fitted import fitted
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
    "fitted": fitted,
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


def describe() -> dict[str, str]:
    """Every method in a line: the first of the file of its name."""
    return {
        name: (sys.modules[f"{__name__}.{name}"].__doc__ or "").split("\n")[0]
        for name in (PIGDM, *METHODS)
    }
