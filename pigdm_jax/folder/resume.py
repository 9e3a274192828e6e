"""What of a job is finished, and what it must not replace."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pigdm_jax.folder.journal import Journal
from pigdm_jax.folder.listing import FolderEntry, Listing
from pigdm_jax.folder.load import file_digests
from pigdm_jax.folder.plan import READERS, Job
from pigdm_jax.pictures.formats import SUFFIXES
from pigdm_jax.pictures.opening import digest
from pigdm_jax.pictures.outputs import INPUT, NAMED, check_outputs

# A prior is known by its contents, wherever it lies.
FREE = ("prior",)


def find_finished(
    job: Job, listing: Listing, mine: Listing, journal: Journal, settings: dict
) -> set[FolderEntry]:
    """The pictures of this process that need not be restored again.

    A picture is finished if its restorations are as they were written, and everything
    that decides their pixels is as it was.

    Args:
      job: the job.
      listing: the pictures of all processes.
      mine: those of this process.
      journal: what was written before.
      settings: of the job.

    Raises:
      ValueError: if the job would replace a file that it did not write, or mix
        restorations of different settings.
    """
    if not job.overwrite:
        _check_settings(job, journal, settings)
    _check_originals(job, journal)
    written = _digests(job, mine, journal)
    _check_outputs(job, listing, journal, written)
    shared = {} if job.request.task.names_stem else file_digests(job.request.task)

    def is_finished(entry: FolderEntry) -> bool:
        line = journal.pictures.get(entry.name)
        if line is None or line["error"] is not None:
            return False
        if line.get("label") != job.label(entry):
            return False
        if _differences(line["settings"], settings):
            return False
        outputs = {path: written.get(path) for path in job.outputs(entry)}
        if line["outputs"] != outputs:
            return False
        task = job.request.task
        try:
            files = shared or file_digests(task.of(entry.path.stem))
            return line["files"] == files and line["digest"] == digest(entry.path)
        except ValueError:
            return False  # what is missing is said when the picture is read

    entries = list(_entries(mine))
    with ThreadPoolExecutor(READERS) as threads:
        known = list(threads.map(is_finished, entries))
    return {entry for entry, done in zip(entries, known, strict=True) if done}


def _entries(listing: Listing) -> Iterable[FolderEntry]:
    for entries in listing.groups.values():
        yield from entries


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of settings that differ."""
    names = [name for name in other if name not in FREE]
    return [name for name in names if one.get(name) != other[name]]


def _check_settings(job: Job, journal: Journal, settings: dict[str, Any]) -> None:
    """Refuse to mix restorations with different settings in one folder.

    Raises:
      ValueError: naming the setting that differs.
    """
    for line in journal.pictures.values():
        if line["error"] is not None:
            continue
        for name in _differences(line["settings"], settings):
            raise ValueError(
                f"{job.out} contains restorations with {name} "
                f"{line['settings'].get(name)}, not {settings[name]}; use the same "
                "flags to continue, --overwrite to restore them again, or another --out"
            )


def _check_originals(job: Job, journal: Journal) -> None:
    """Refuse an output folder among the pictures that holds some of them.

    Raises:
      ValueError: if there is one.
    """
    if job.folder.resolve() not in job.out.resolve().parents:
        return
    for path in sorted(job.out.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or journal.folder in path.parents:
            continue
        if path.relative_to(job.out).as_posix() not in journal.written:
            raise ValueError(
                f"--out {job.out} lies in {job.folder} and holds {path}, which may be "
                "one of its pictures; choose another folder"
            )


def _digests(job: Job, mine: Listing, journal: Journal) -> dict[str, str]:
    """Digests of the files that are there and were written before, by their paths."""
    paths = [path for entry in _entries(mine) for path in job.outputs(entry)]
    paths = [
        path for path in paths if path in journal.written and (job.out / path).is_file()
    ]
    with ThreadPoolExecutor(READERS) as threads:
        found = threads.map(lambda path: digest(job.out / path), paths)
        return dict(zip(paths, found, strict=True))


def _check_outputs(
    job: Job, listing: Listing, journal: Journal, written: dict[str, str]
) -> None:
    """Refuse to replace what is not the job's own.

    Raises:
      ValueError: as `check_outputs`.
    """
    entries, task = list(_entries(listing)), job.request.task
    inputs: dict[Path, str] = {}
    for entry in entries if task.names_stem else entries[:1]:
        named = task.of(entry.path.stem).files
        inputs |= dict.fromkeys(map(Path, named), NAMED)
    inputs |= dict.fromkeys((entry.path for entry in entries), INPUT)
    inputs |= dict.fromkeys((entry.path for entry in listing.broken), INPUT)
    # A list: two pictures may have one output, which is refused.
    places = [(job.out / path, path) for e in entries for path in job.outputs(e)]
    paths = dict(places)

    def is_own(place: Path) -> bool:
        known = journal.written.get(paths[place], set())
        # Other processes take care of their own pictures.
        return bool(known) and written.get(paths[place], next(iter(known))) in known

    outputs = [place for place, _ in places]
    check_outputs(outputs, inputs, overwrite=job.overwrite, is_own=is_own)
