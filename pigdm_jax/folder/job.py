"""Restoring a folder: read, compute and write at the same time, and lose nothing."""

import time
from contextlib import closing
from typing import NamedTuple

import jax

from pigdm_jax.core.locks import locked
from pigdm_jax.folder.compute import Group, compile_group, restore_group
from pigdm_jax.folder.journal import FOLDER, Journal
from pigdm_jax.folder.listing import FolderEntry, Listing, Shape, own_part
from pigdm_jax.folder.plan import Job, check_space, list_checked
from pigdm_jax.folder.resume import find_finished
from pigdm_jax.folder.write import Writer


class JobSummary(NamedTuple):
    """What this process did.

    Attributes:
      restored: number of pictures restored.
      skipped: number of pictures that were finished before.
      failed: number of pictures with an error in the journal.
      compilations: number of programs compiled.
      compile_seconds: time to compile them.
      seconds: time of the run without compiling.
      device_seconds: time during which a batch was being computed.
    """

    restored: int
    skipped: int
    failed: int
    compilations: int
    compile_seconds: float
    seconds: float
    device_seconds: float


def run(job: Job) -> JobSummary:
    """Restore this process's part of what is not finished.

    Raises:
      ValueError: in one sentence, if flags, folder or output make no sense, before
        anything is computed; or when an output cannot be written.
    """
    began = time.perf_counter()
    listing = list_checked(job)
    process, processes = jax.process_index(), jax.process_count()
    mine = own_part(listing, process, processes)
    settings, clock = job.settings(), _Clock()
    with locked(job.out / FOLDER, process, processes):
        journal = Journal(job.out, process)
        finished = find_finished(job, listing, mine, journal, settings)
        check_space(job, listing)
        with closing(journal):
            journal.open(processes)
            with closing(Writer(job, journal, settings)) as writer:
                _restore_all(job, mine, finished, writer, clock)
    return JobSummary(
        writer.written,
        len(finished),
        writer.failed,
        clock.compilations,
        clock.compile_seconds,
        time.perf_counter() - began - clock.compile_seconds,
        writer.device_seconds,
    )


class _Clock:
    """Number of compiled programs, and the time that they took."""

    def __init__(self) -> None:
        self.compilations, self.compile_seconds = 0, 0.0

    def compile(self, job: Job, shape: Shape, entries: list[FolderEntry]) -> Group:
        """`compile_group`, timed.

        Raises:
          ValueError: as `compile_group`.
        """
        began = time.perf_counter()
        try:
            group = compile_group(job, shape, entries)
        finally:
            self.compile_seconds += time.perf_counter() - began
        self.compilations += 1
        return group


def _restore_all(
    job: Job, mine: Listing, finished: set[FolderEntry], writer: Writer, clock: _Clock
) -> None:
    """Restore group after group; what cannot be restored becomes an error line."""
    count = sum(map(len, mine.groups.values()))

    def progress() -> None:
        job.progress(writer.written + writer.failed + len(finished), count)

    for entry, reason in mine.broken.items():
        writer.fail(entry, reason)
    for shape, entries in mine.groups.items():
        if finished.issuperset(entries):
            continue
        try:
            group = clock.compile(job, shape, entries)
        except ValueError as error:
            for entry in entries:
                if entry not in finished:
                    writer.fail(entry, str(error))
            continue
        restore_group(job, group, finished, writer, progress)
