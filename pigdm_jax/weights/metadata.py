"""The file `prior.json` in the folder of a saved prior."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pigdm_jax.core.paths import check_readable
from pigdm_jax.networks import ARCHITECTURES
from pigdm_jax.priors.schedule import Schedule
from pigdm_jax.weights.names import METADATA, find_prior

FORMAT_VERSION = 2
# The types of the fields, None included where a value may be missing.
FIELDS: dict[str, tuple[type, ...]] = {
    "architecture": (str,),
    "config": (dict,),
    "schedule": (dict,),
    "predicts": (str,),
    "flow": (bool,),
    "sees": (str, type(None)),
    "trained_size": (int, type(None)),
    "symmetries": (int,),
    "source": (dict,),
    "arrays": (dict,),
    "files": (dict,),
}
LARGEST = 2**24  # bytes of the file; that of the largest public checkpoint has 0.3 MB


def read_metadata(path: Path) -> dict[str, Any]:
    """The contents of `prior.json` in a prior's folder.

    Raises:
      ValueError: if the file is missing, not JSON, of another format version, or lacks
        a field or has one of another type.
    """
    try:
        check_readable(path / METADATA)
        with open(path / METADATA, encoding="utf-8") as file:
            metadata = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        raise ValueError(
            f"{path} is not a prior: it has no readable {METADATA}; make one from a "
            "PyTorch checkpoint with `pigdm convert FILE OUT`"
        ) from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{path / METADATA} is not that of a prior")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, and this version of pigdm_jax reads "
            f"version {FORMAT_VERSION}; make it again from its checkpoint with `pigdm "
            "convert`, or from its training run with `pigdm train`"
        )
    for name, value in (("flow", False), ("symmetries", 1)):
        metadata.setdefault(name, value)  # absent from older files of this version
    missing = FIELDS - metadata.keys()
    if missing:
        raise ValueError(f"{path / METADATA} lacks {', '.join(sorted(missing))}")
    for name, kinds in FIELDS.items():
        value = metadata[name]
        texts = name in ("source", "arrays", "files")
        if type(value) not in kinds or (
            texts and not all(isinstance(text, str) for text in value.values())
        ):
            raise ValueError(f"{path / METADATA}: {name} is damaged")
    if metadata["architecture"] not in ARCHITECTURES:
        raise ValueError(
            f"{path} has the architecture {metadata['architecture']!r}; this version "
            f"of pigdm_jax has {', '.join(ARCHITECTURES)}"
        )
    return metadata


def content_digest(name_or_path: str | Path) -> str:
    """A digest of what decides the predictions of a saved prior, wherever it lies.

    Raises:
      ValueError: if there is no such prior, or its metadata are unreadable.
    """
    metadata = read_metadata(find_prior(name_or_path))
    decisive = {name: metadata[name] for name in FIELDS.keys() - {"source", "files"}}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule as JSON values: its name, or its betas."""
    for name in ("linear", "cosine"):
        if schedule == Schedule.named(name):
            return {"name": name}
    return {"betas": list(schedule.betas)}


def schedule_from_json(saved: dict[str, Any]) -> Schedule:
    """The schedule that `schedule_to_json` described.

    Raises:
      ValueError: if it described none.
    """
    match saved:
        case {"betas": [*betas]} if all(type(b) in (int, float) for b in betas):
            return Schedule.from_betas(betas)
        case {"name": str(name)}:
            return Schedule.named(name)
    raise ValueError(f"a schedule has betas or a name, got {saved!r:.80}")
