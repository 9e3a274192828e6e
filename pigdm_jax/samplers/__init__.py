"""Samplers: PiGDM's own, and the methods it is compared with.

To add one, write its file and name it in `pigdm_jax.samplers.registry`.
"""

from pigdm_jax.samplers.base import (
    Info,
    Sampler,
    Spaced,
    Stepwise,
    Trace,
    ddim_coefficients,
)
from pigdm_jax.samplers.ccdf import CCDF
from pigdm_jax.samplers.conjugate import Conjugate
from pigdm_jax.samplers.ddim import DDIM
from pigdm_jax.samplers.ddnm import DDNM
from pigdm_jax.samplers.ddrm import DDRM
from pigdm_jax.samplers.defaults import default
from pigdm_jax.samplers.diffpir import DiffPIR
from pigdm_jax.samplers.dps import DPS
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.multistep import Multistep
from pigdm_jax.samplers.pnp import PnP
from pigdm_jax.samplers.red_diff import REDDiff
from pigdm_jax.samplers.registry import SAMPLERS, parse
from pigdm_jax.samplers.snips import SNIPS

__all__ = [
    "CCDF",
    "DDIM",
    "DDNM",
    "DDRM",
    "DPS",
    "SAMPLERS",
    "SNIPS",
    "Conjugate",
    "DiffPIR",
    "Fitted",
    "Info",
    "Multistep",
    "PnP",
    "REDDiff",
    "Sampler",
    "Spaced",
    "Stepwise",
    "Trace",
    "ddim_coefficients",
    "default",
    "parse",
]
