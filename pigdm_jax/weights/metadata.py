"""The file `prior.json` in the folder of a saved prior."""

import json
from pathlib import Path
from typing import Any

from pigdm_jax.networks import ARCHITECTURES
from pigdm_jax.priors.schedule import Schedule
from pigdm_jax.weights.names import METADATA

FORMAT_VERSION = 2
FIELDS = {
    "architecture",
    "config",
    "schedule",
    "predicts",
    "sees",
    "trained_size",
    "source",
    "arrays",
    "files",
}


def read_metadata(path: Path) -> dict[str, Any]:
    """The contents of `prior.json` in a prior's folder.

    Raises:
      ValueError: if the file is missing, not JSON, or of another format version.
    """
    try:
        metadata = json.loads((path / METADATA).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(
            f"{path} is not a prior: it has no readable {METADATA}; make one from a "
            "PyTorch checkpoint with `pigdm convert FILE OUT`"
        ) from None
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, and this version of pigdm_jax reads "
            f"version {FORMAT_VERSION}; make it again from its checkpoint with `pigdm "
            "convert`, or from its training run with `pigdm train`"
        )
    missing = FIELDS - metadata.keys()
    if missing:
        raise ValueError(f"{path / METADATA} lacks {', '.join(sorted(missing))}")
    if metadata["architecture"] not in ARCHITECTURES:
        raise ValueError(
            f"{path} has the architecture {metadata['architecture']!r}; this version "
            f"of pigdm_jax has {', '.join(ARCHITECTURES)}"
        )
    return metadata


def schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule as JSON values: its name, or its betas."""
    for name in ("linear", "cosine"):
        if schedule == Schedule.named(name):
            return {"name": name}
    return {"betas": list(schedule.betas)}


def schedule_from_json(saved: dict[str, Any]) -> Schedule:
    """The schedule that `schedule_to_json` described."""
    if "betas" in saved:
        return Schedule.from_betas(saved["betas"])
    return Schedule.named(saved["name"])
