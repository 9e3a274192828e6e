"""Samplers by the names of the command line."""

import dataclasses

from pigdm_jax import guidance as guidances
from pigdm_jax.core.text_form import parse_object
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.ccdf import CCDF
from pigdm_jax.samplers.conjugate import Conjugate
from pigdm_jax.samplers.ddim import DDIM
from pigdm_jax.samplers.ddnm import DDNM
from pigdm_jax.samplers.ddrm import DDRM
from pigdm_jax.samplers.diffpir import DiffPIR
from pigdm_jax.samplers.dps import DPS
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.multistep import Multistep
from pigdm_jax.samplers.pnp import PnP
from pigdm_jax.samplers.red_diff import REDDiff
from pigdm_jax.samplers.snips import SNIPS

SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "fitted": Fitted,
    "multistep": Multistep,
    "conjugate": Conjugate,
    "dps": DPS,
    "ddrm": DDRM,
    "ddnm": DDNM,
    "diffpir": DiffPIR,
    "red_diff": REDDiff,
    "snips": SNIPS,
    "pnp": PnP,
    "ccdf": CCDF,
}
"""By the names of the command line."""


def parse(
    text: str, *, steps: int | None = None, guidance: str | None = None
) -> Sampler:
    """The sampler that a text such as "ddim:eta=0.5" names.

    Args:
      text: NAME or NAME:KEY=VALUE,KEY=VALUE; a guidance is written in parentheses,
        "ddim:guidance=(moment:products=5)".
      steps: its `steps`, if they are not in the text.
      guidance: its guidance, as `pigdm_jax.guidance.parse` takes it.

    Raises:
      ValueError: if a name is unknown, or a parameter is superfluous or out of range.
    """
    sampler = parse_object(text, "sampler", SAMPLERS, _parse_inner)
    changes = {
        "steps": steps,
        "guidance": None if guidance is None else guidances.parse(guidance),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    fields = {field.name for field in dataclasses.fields(sampler)}  # type: ignore[arg-type]
    for name in changes:
        if name not in fields:
            raise ValueError(f"sampler {text!r} takes no {name}")
    return dataclasses.replace(sampler, **changes)  # type: ignore[type-var]


def _parse_inner(field: str, text: str) -> guidances.Guidance | Sampler:
    return guidances.parse(text) if field == "guidance" else parse(text)
