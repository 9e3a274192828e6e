"""What is asked for: a table's run, and the experiment of each of its rows."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.folder.listing import FolderEntry
from pigdm_jax.folder.plan import Job
from pigdm_jax.pictures.request import Request
from pigdm_jax.priors.base import Prior
from pigdm_jax.tables.measures import Measures
from pigdm_jax.tables.table import Table, TableRow


@dataclasses.dataclass(frozen=True)
class TableRun:
    """A table to run.

    Attributes:
      table: its settings.
      prior: name or folder, as `load_prior` takes it.
      images: a folder of clean images.
      out: the folder to write to.
      rows: names of the rows to run; empty for all.
      limit: images of a row at most; None for as many as the table says.
      size: side of the images instead of the table's; None for the table's.
      metrics: instead of the table's; empty for the table's.
      labels, classes: files, as `class_labels` takes them.
      seed: of noise and samplers, with the content of each image.
      batch: images restored at once; None for as many as fit.
      remark: called with remarks for the user.
      progress: called with the numbers of finished and of all images of a row.
    """

    table: Table
    prior: str
    images: Path
    out: Path
    rows: tuple[str, ...] = ()
    limit: int | None = None
    size: int | None = None
    metrics: tuple[str, ...] = ()
    labels: Path | None = None
    classes: Path | None = None
    seed: int = 0
    batch: int | None = None
    remark: Callable[[str], None] = print
    progress: Callable[[int, int], None] = lambda done, count: None


class Experiment(NamedTuple):
    """A row ready to run.

    Attributes:
      row: its settings.
      crop: side of the images.
      entries: its images, in the user's folder.
      request: what to do to each.
      evaluations: of the network, for an image.
      originals: folder of the cropped images.
      restored: folder of the restorations.
      labels: the class of each image by the name of its cropped file, or None.
      measures: metrics to compute.
      conditioned: whether the prior takes the labels.
    """

    row: TableRow
    crop: int
    entries: list[FolderEntry]
    request: Request
    evaluations: int
    originals: Path
    restored: Path
    labels: Mapping[str, int] | None
    measures: Measures
    conditioned: bool

    @property
    def digest(self) -> str:
        """A digest of what decides its restorations, but for the run's settings."""
        row, names = self.row, [entry.name for entry in self.entries]
        decisive = (row.task, row.noise, row.sampler, self.crop, names)
        return hashlib.sha256(repr(decisive).encode()).hexdigest()

    def job(self, run: TableRun, prior: Prior) -> Job:
        """The folder job that restores its images."""
        return Job(
            self.request,
            prior,
            self.originals,
            self.restored,
            batch=run.batch,
            recursive=True,
            labels=self.labels if self.conditioned else None,
            remark=run.remark,
            progress=run.progress,
        )
