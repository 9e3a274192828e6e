"""Logs of a run: metrics.csv and TensorBoard's event files."""

import contextlib
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

COLUMNS = ("step", "loss", "grad_norm", "lr", "held_out_loss")


class Logs:
    """Writer of a run's logs; a context manager.

    If a run continues from `step`, rows after that step are deleted. Of several
    processes that train together, one has `writes=True`.
    """

    def __init__(self, folder: Path, step: int, *, writes: bool = True) -> None:
        self._writes = writes
        if not writes:
            return
        self._path = folder / "metrics.csv"
        rows = []
        if self._path.exists():
            # A killed run may have written half of its last row.
            whole = self._path.read_text().rpartition("\n")[0].splitlines()
            rows = [row for row in csv.DictReader(whole) if int(row["step"]) <= step]
        temporary = self._path.with_suffix(".tmp")
        with _failures_named(self._path):
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
            os.replace(temporary, self._path)
        # tensorboardX's SummaryWriter writes in a thread, which a full disk ends; its
        # queue then blocks the run.
        self._events = folder / "tensorboard"
        with _failures_named(self._events):
            self._events.mkdir(exist_ok=True)
            self._board = EventsWriter(str(self._events / "events"))
            # Of an earlier run, TensorBoard shows what was before this step.
            start = SessionLog(status=SessionLog.START)
            self._write(step=step + 1, session_log=start)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self._writes:
            return
        try:
            with _failures_named(self._events):
                self._board.close()
        except OSError:
            if kind is None:  # or what failed before says more
                raise

    def _write(self, **fields: object) -> None:
        self._board.write_event(Event(wall_time=time.time(), **fields))

    def _scalar(self, name: str, value: float, step: int) -> None:
        with _failures_named(self._events):
            part = Summary.Value(tag=name, simple_value=value)
            self._write(step=step, summary=Summary(value=[part]))

    def row(self, step: int, **figures: float) -> None:
        """Write a row; columns that are not given stay empty."""
        if not self._writes:
            return
        line = {"step": step} | {name: f"{x:.6g}" for name, x in figures.items()}
        with _failures_named(self._path), self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(line)
        for name, value in figures.items():
            self._scalar(name, value, step)

    def speed(self, step: int, crops_per_second: float) -> None:
        """Write the speed, only to TensorBoard: metrics.csv must be reproducible."""
        if self._writes:
            self._scalar("crops_per_second", crops_per_second, step)


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Name a file in errors of the system, which name none if a write fails."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
