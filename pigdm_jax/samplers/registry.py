"""Samplers by their names on the command line."""

import dataclasses
from typing import TYPE_CHECKING, Any

from pigdm_jax.core.lazy import LazyMapping
from pigdm_jax.core.text_form import parse_object
from pigdm_jax.guidance import registry as guidances

if TYPE_CHECKING:
    import pigdm_jax.samplers.base

SAMPLERS: LazyMapping[type["pigdm_jax.samplers.base.Sampler"]] = LazyMapping(
    {
        "ddim": "pigdm_jax.samplers.ddim:DDIM",
        "fitted": "pigdm_jax.samplers.fitted:Fitted",
        "denoiser": "pigdm_jax.samplers.denoiser:Denoiser",
        "mean": "pigdm_jax.samplers.mean:Mean",
        "relaxed": "pigdm_jax.samplers.relaxed:Relaxed",
        "coarse_to_fine": "pigdm_jax.samplers.coarse_to_fine:CoarseToFine",
        "multistep": "pigdm_jax.samplers.multistep:Multistep",
        "conjugate": "pigdm_jax.samplers.conjugate:Conjugate",
        "dps": "pigdm_jax.samplers.dps:DPS",
        "ddrm": "pigdm_jax.samplers.ddrm:DDRM",
        "ddnm": "pigdm_jax.samplers.ddnm:DDNM",
        "diffpir": "pigdm_jax.samplers.diffpir:DiffPIR",
        "red_diff": "pigdm_jax.samplers.red_diff:REDDiff",
        "snips": "pigdm_jax.samplers.snips:SNIPS",
        "pnp": "pigdm_jax.samplers.pnp:PnP",
        "ccdf": "pigdm_jax.samplers.ccdf:CCDF",
    }
)
"""By their names on the command line; each class is imported when it is looked up."""


def parse(
    text: str, *, steps: int | None = None, guidance: str | None = None
) -> "pigdm_jax.samplers.base.Sampler":
    """The sampler that a text names.

    Args:
      text: NAME or NAME:KEY=VALUE,KEY=VALUE; a guidance is written in parentheses,
        "ddim:guidance=(moment:products=5)".
      steps: replaces its `steps`, or its inner sampler's.
      guidance: replaces its guidance, likewise; as `pigdm_jax.guidance.parse` takes it.

    Raises:
      ValueError: if the name or a parameter is unknown, or a value is out of range.

    Examples:
      >>> import pigdm_jax as pj
      >>> sampler = pj.samplers.parse("ddim:eta=0.5", steps=20, guidance="moment")
      >>> str(sampler)
      'ddim:steps=20,eta=0.5,guidance=(moment)'
    """
    sampler = parse_object(text, "sampler", SAMPLERS, _parse_inner)
    changes = {
        "steps": steps,
        "guidance": None if guidance is None else guidances.parse(guidance),
    }
    for name, value in changes.items():
        if value is not None:
            sampler = _with(sampler, name, value, text)
    return sampler


def _with(sampler: Any, name: str, value: Any, text: str) -> Any:
    """The sampler with another value of a field, which may be its inner sampler's.

    Raises:
      ValueError: if it has no such field.
    """
    fields = {field.name for field in dataclasses.fields(sampler)}
    if name in fields:
        return dataclasses.replace(sampler, **{name: value})
    if "inner" in fields:
        inner = _with(sampler.inner, name, value, text)
        return dataclasses.replace(sampler, inner=inner)
    raise ValueError(f"sampler {text!r} takes no {name}")


def _parse_inner(field: str, text: str) -> Any:
    return guidances.parse(text) if field == "guidance" else parse(text)
