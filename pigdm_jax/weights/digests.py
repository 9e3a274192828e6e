"""SHA-256 digests of the files and arrays of a saved prior."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pigdm_jax.core.paths import check_readable


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, by its path relative to the folder."""
    digests = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[file.relative_to(folder).as_posix()] = digest
    return digests


def check_files(folder: Path, expected: dict[str, str]) -> None:
    """Compare files with their digests, before Orbax reads them.

    Args:
      folder: the folder with the files.
      expected: the digests of `file_digests` when the files were saved.

    Raises:
      ValueError: if one is missing or differs, names the first; or if there are none,
        or something else than files, which Orbax might wait for.
    """
    if not expected:
        raise ValueError(f"{folder} has no files in its metadata; make the prior again")
    for path in folder.rglob("*"):
        check_readable(path)
    found = file_digests(folder)
    extra = [name for name in found if name not in expected and name[0] != "."]
    if extra:
        raise ValueError(f"{folder / extra[0]} is no part of the prior; remove it")
    for name, digest in expected.items():
        if found.get(name) != digest:
            how = "damaged" if name in found else "missing"
            raise ValueError(f"{folder / name} is {how}; copy or make the prior again")


def array_digests(params: Any) -> dict[str, str]:
    """The SHA-256 of the bytes of every array, by its path in the pytree."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): hashlib.sha256(
            np.ascontiguousarray(leaf).view(np.uint8).data
        ).hexdigest()
        for path, leaf in jax.tree.leaves_with_path(params)
    }


def fits_digest(metadata: dict[str, Any]) -> str:
    """A digest of configuration and arrays, which says that they have been compared.

    It is saved after the shapes of the arrays were compared with those of the network.
    Comparing them again needs a trace of the network, half of the time that loading
    takes.
    """
    checked = [metadata[name] for name in ("architecture", "config", "arrays")]
    return hashlib.sha256(json.dumps(checked).encode()).hexdigest()
