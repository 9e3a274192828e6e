"""Writing batches: temporary files, then the journal, then the pictures' names."""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax

from pigdm_jax.folder.journal import Journal
from pigdm_jax.folder.listing import FolderEntry
from pigdm_jax.folder.load import Loaded, file_digests
from pigdm_jax.folder.plan import Job
from pigdm_jax.folder.record import Record, failure, record
from pigdm_jax.pictures.results import Restored, not_finite

THREADS = 8


class Writer:
    """Writes each batch while the next one is computed.

    Attributes:
      written, failed: how many pictures so far.
      device_seconds: while a batch was being computed.
    """

    def __init__(self, job: Job, journal: Journal, settings: dict[str, Any]) -> None:
        """Start the threads.

        Args:
          job: the job.
          journal: opened.
          settings: of the job.

        Raises:
          ValueError: if a file that the task names cannot be read.
        """
        self.job, self.journal, self.settings = job, journal, settings
        task = job.request.task
        self.files = {} if task.names_stem else file_digests(task)
        self.threads = ThreadPoolExecutor(THREADS)
        self.committer = ThreadPoolExecutor(1)
        # One thread that waits for the device, to time it apart from the host.
        self.watch = ThreadPoolExecutor(1)
        self.ready_at = 0.0
        self.committing: Future | None = None
        self.failures: list[dict[str, Any]] = []
        self.written, self.failed, self.device_seconds = 0, 0, 0.0
        self.noted: set[str] = set()

    def time(self, samples: list[Restored], started: float) -> Future:
        """Time a batch: the seconds from its start, or from the end of the last one."""

        def wait() -> float:
            jax.block_until_ready(samples)
            began = max(started, self.ready_at)
            self.ready_at = time.perf_counter()
            return self.ready_at - began

        return self.watch.submit(wait)

    def accept(
        self,
        rows: dict[int, Loaded],
        samples: list[Restored],
        seconds: Future,
        sampler: str,
    ) -> None:
        """Write a batch when it is ready, while the next one is computed.

        Args:
          rows: its pictures by their places in the batch.
          samples: of every place, one restoration after the other.
          seconds: from `time`.
          sampler: as text.
        """
        duration = seconds.result()
        self.device_seconds += duration
        host: list[Restored] = jax.device_get(samples)
        self.flush()
        batch = []
        for i, row in rows.items():
            own = [jax.tree.map(itemgetter(i), sample) for sample in host]
            broken = [sample for sample in own if not sample.finite]
            if broken:
                self.fail(row.entry, not_finite(broken[0].trace), row.digest)
                continue
            fields = {
                "files": row.files or self.files,
                "sampler": sampler,
                "off": float(own[0].mismatch),
                "seconds": duration / len(rows),
            }
            if (label := self.job.label(row.entry)) is not None:
                fields["label"] = label
            place = self.journal.unfinished / f"{i}.png"
            pixels = [sample.pixels for sample in own]
            batch.append(partial(record, row, pixels, place, fields))
        self._submit(batch)

    def fail(self, entry: FolderEntry, reason: str, digest: str = "") -> None:
        """Note that a picture cannot be restored; its line is written with a batch."""
        self.failed += 1
        self.job.remark(f"{entry.name}: {reason}")
        self.failures.append(failure(entry, reason, digest))

    def flush(self) -> None:
        """Wait for the batch that is being written.

        Raises:
          ValueError: if a file could not be written.
        """
        committing, self.committing = self.committing, None
        if committing is None:
            return
        lines = committing.result()
        for line in lines:
            for note in set(line.get("notes", ())) - self.noted:
                # Once of each kind; the journal has them all.
                self.noted.add(note)
                self.job.remark(f"note: {line['input']}: {note}")
        self.written += len(lines)

    def close(self) -> None:
        """Write what is computed; what the device still computes is given up."""
        try:
            self.flush()
            self._submit([])
            self.flush()
        finally:
            self.committer.shutdown()
            self.threads.shutdown()
            self.watch.shutdown(wait=False)

    def _submit(self, batch: list[partial[Record]]) -> None:
        failures, self.failures = self.failures, []
        self.committing = self.committer.submit(self._commit, batch, failures)

    def _commit(
        self, batch: list[partial[Record]], failures: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Write a batch and its lines, in this order of steps; returns the lines."""
        records = list(self.threads.map(lambda write: write(), batch))
        lines = [record.line for record in records]
        self.journal.add(self.settings, [*failures, *lines])
        moves = [move for record in records for move in record.files.items()]
        list(self.threads.map(self._name, moves))
        return lines

    def _name(self, move: tuple[str, Path]) -> None:
        name, temporary = move
        path = self.job.out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, path)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror}") from None
