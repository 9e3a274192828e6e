"""The folder of weights that were obtained by name; imports no JAX.

priors/NAME/          the converted prior
sources/NAME.json     size and SHA-256 of the files it was made from
downloads/NAME/       those files, while they are needed or if they are kept
metrics/NAME/         the files of a metric's network, which are not converted
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import platformdirs

from pigdm_jax.weights.catalogue import CatalogueEntry
from pigdm_jax.weights.names import METADATA

VARIABLE = "PIGDM_WEIGHTS"
# What can be done if nothing can be written there.
ELSEWHERE = f"{VARIABLE} names another folder"


class Source(NamedTuple):
    """A file from which weights were made: its size in bytes, SHA-256 and origin."""

    size: int
    sha256: str
    origin: str


class Places(NamedTuple):
    """Where the parts of an entry are kept.

    Attributes:
      prior: the converted prior, a folder.
      sources: the record of the files it was made from.
      downloads: the folder of those files.
      lock: held by the process that works on the entry.
    """

    prior: Path
    sources: Path
    downloads: Path
    lock: Path


def weights_folder() -> Path:
    """The folder of obtained weights: PIGDM_WEIGHTS, or in the user's cache folder."""
    if given := os.environ.get(VARIABLE, "").strip():
        return Path(given).absolute()
    return platformdirs.user_cache_path("pigdm_jax") / "weights"


def places(entry: CatalogueEntry) -> Places:
    """Where the parts of an entry are kept, whether or not they exist."""
    root, slug = weights_folder(), entry.slug
    return Places(
        root / "priors" / slug,
        root / "sources" / f"{slug}.json",
        root / ("downloads" if entry.kind == "prior" else "metrics") / slug,
        root / "locks" / slug,
    )


def temporary_of(path: Path) -> Path:
    """Where this process writes what it then moves to a path."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def is_here(entry: CatalogueEntry) -> bool:
    """Whether the converted prior is in the folder."""
    return (places(entry).prior / METADATA).is_file()


def obtained() -> list[str]:
    """The names of all entries of which something is in the folder."""
    root = weights_folder()
    slugs = {
        path.name
        for part in ("priors", "downloads")
        for path in (root / part).glob("[!.]*")
        if path.is_dir()
    }
    return sorted(_name(slug) for slug in slugs)


def _name(slug: str) -> str:
    """The name of an entry from its `slug`."""
    scheme, *parts = slug.split("--")
    return f"hf:{'/'.join(parts)}" if scheme == "hf" and parts else slug


def disk_use(entry: CatalogueEntry) -> int:
    """Bytes of the entry's prior and downloads."""
    found = places(entry)
    return sum(
        file.lstat().st_size
        for folder in (found.prior, found.downloads)
        for file in folder.rglob("*")
        if file.is_file()
    )


def read_sources(entry: CatalogueEntry) -> dict[str, Source]:
    """The record of the files that an entry was made from before, by file name.

    Raises:
      ValueError: if it is damaged.
    """
    path = places(entry).sources
    try:
        saved = json.loads(path.read_text())
        return {
            str(name): Source(int(size), str(sha256), str(origin))
            for name, (size, sha256, origin) in saved.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is damaged; remove it") from None


def write_sources(entry: CatalogueEntry, sources: dict[str, Source]) -> None:
    """Write the record of the files that an entry was made from.

    Raises:
      OSError: if it cannot be written.
    """
    path = places(entry).sources
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path)
    try:
        temporary.write_text(json.dumps(sources, indent=1) + "\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(entry: CatalogueEntry) -> None:
    """Remove what a killed process left; the caller holds the entry's lock."""
    found = places(entry)
    # Of such a folder, and of those that `written_whole` makes beside it.
    pattern = re.compile(rf"\.+{re.escape(found.prior.name)}(\.\d+\.tmp)+")
    for path in found.prior.parent.glob(".*.tmp"):
        if pattern.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    for path in found.downloads.glob("*.part"):
        path.unlink(missing_ok=True)


def remove_files(entry: CatalogueEntry) -> int:
    """Remove an entry's prior and downloads; the caller holds the entry's lock.

    The record of its sources stays, so that a later download is held to it.

    Returns:
      Bytes that were freed.

    Raises:
      OSError: if they cannot be removed.
    """
    freed, found = disk_use(entry), places(entry)
    if found.prior.exists():
        # Never half of a prior under its name.
        temporary = temporary_of(found.prior)
        os.rename(found.prior, temporary)
        shutil.rmtree(temporary)
    if found.downloads.exists():
        shutil.rmtree(found.downloads)
    return freed
