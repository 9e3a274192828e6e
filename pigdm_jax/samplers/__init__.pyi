from .base import Sampler, Spaced, Stepwise
from .ccdf import CCDF
from .coarse_to_fine import CoarseToFine
from .conjugate import Conjugate
from .ddim import DDIM
from .ddim_step import ddim_coefficients
from .ddnm import DDNM
from .ddrm import DDRM
from .defaults import default
from .denoiser import Denoiser
from .diffpir import DiffPIR
from .dps import DPS
from .fitted import Fitted
from .mean import Mean
from .multistep import Multistep
from .pnp import PnP
from .records import Info, Trace
from .red_diff import REDDiff
from .registry import SAMPLERS, parse
from .relaxed import Relaxed
from .snips import SNIPS

__all__ = [
    "CCDF",
    "DDIM",
    "DDNM",
    "DDRM",
    "DPS",
    "SAMPLERS",
    "SNIPS",
    "CoarseToFine",
    "Conjugate",
    "Denoiser",
    "DiffPIR",
    "Fitted",
    "Info",
    "Mean",
    "Multistep",
    "PnP",
    "REDDiff",
    "Relaxed",
    "Sampler",
    "Spaced",
    "Stepwise",
    "Trace",
    "ddim_coefficients",
    "default",
    "parse",
]
