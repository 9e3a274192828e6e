"""Logs of a run: metrics.csv and TensorBoard's event files."""

import csv
import os
from pathlib import Path

from tensorboardX import SummaryWriter

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
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self._path)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writes:
            self._board.close()

    def row(self, step: int, **figures: float) -> None:
        """Write a row; columns that are not given stay empty."""
        if not self._writes:
            return
        line = {"step": step} | {name: f"{x:.6g}" for name, x in figures.items()}
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(line)
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def speed(self, step: int, crops_per_second: float) -> None:
        """Write the speed, only to TensorBoard: metrics.csv must be reproducible."""
        if self._writes:
            self._board.add_scalar("crops_per_second", crops_per_second, step)
