"""SHA-256 digests of a saved prior's files and arrays."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np


def file_digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a folder, by its path there."""
    digests = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[file.relative_to(folder).as_posix()] = digest
    return digests


def check_files(folder: Path, expected: dict[str, str]) -> None:
    """Refuse files that are not as they were saved, before Orbax reads them.

    Raises:
      ValueError: that names the first.
    """
    there = file_digests(folder)
    for name, digest in expected.items():
        if there.get(name) != digest:
            how = "damaged" if name in there else "missing"
            raise ValueError(f"{folder / name} is {how}; copy or make the prior again")


def array_digests(params: Any) -> dict[str, str]:
    """The sha256 of every array's bytes, by its name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): hashlib.sha256(
            np.ascontiguousarray(leaf).view(np.uint8).data
        ).hexdigest()
        for path, leaf in jax.tree.leaves_with_path(params)
    }


def fits_digest(metadata: dict[str, Any]) -> str:
    """A digest of a network's configuration and arrays, saved once they are checked.

    Checking again takes a trace of the network, which is half of the time of loading.
    """
    checked = [metadata[name] for name in ("architecture", "config", "arrays")]
    return hashlib.sha256(json.dumps(checked).encode()).hexdigest()
