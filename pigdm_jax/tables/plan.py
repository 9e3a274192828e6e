"""What a table's run will do, checked before anything is computed."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.devices.memory import check_memory
from pigdm_jax.devices.programs import blank_problem
from pigdm_jax.folder.listing import Entry
from pigdm_jax.folder.plan import Job
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior
from pigdm_jax.restoration import check_request
from pigdm_jax.samplers import parse
from pigdm_jax.tables.labels import class_labels
from pigdm_jax.tables.measures import Choice, Measures
from pigdm_jax.tables.originals import check_sizes, choose, list_images
from pigdm_jax.tables.table import Table, TableRow
from pigdm_jax.weights.downloads import Progress
from pigdm_jax.weights.metadata import content_digest, read_metadata
from pigdm_jax.weights.names import find_prior
from pigdm_jax.weights.store import load_prior


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
    entries: list[Entry]
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


class TablePlan(NamedTuple):
    """A checked run.

    Attributes:
      run: what was asked for.
      prior: the diffusion model.
      experiments: every row that can be run.
      chosen: those that are to be run.
      available: number of images in the user's folder.
    """

    run: TableRun
    prior: Prior
    experiments: list[Experiment]
    chosen: list[Experiment]
    available: int

    @property
    def left_out(self) -> list[TableRow]:
        """The rows that cannot be run."""
        return [row for row in self.run.table.rows if row.left_out]

    def settings(self) -> dict[str, str | int | None]:
        """What decides the restorations of all rows, as plain values."""
        return {
            "prior": content_digest(self.run.prior),
            "size": self.run.size,
            "limit": self.run.limit,
            "seed": self.run.seed,
        }


def check_rows(table: Table, names: Sequence[str]) -> None:
    """Refuse names of rows that a table does not have, or that cannot be run.

    Raises:
      ValueError: in one sentence.
    """
    rows = {row.name: row for row in table.rows}
    for name in names:
        if name not in rows:
            raise ValueError(
                f"table {table.name} has no row {name!r}; it has {', '.join(rows)}"
            )
        if rows[name].left_out:
            raise ValueError(f"row {name} is left out: {rows[name].left_out}")


def plan_table(
    run: TableRun,
    progress: Progress | None = None,
    obtaining: Progress | None = None,
) -> TablePlan:
    """Check a run.

    Args:
      run: what is asked for.
      progress: of a prior that is downloaded; as `load_prior` takes it.
      obtaining: likewise, of the networks of metrics.

    Raises:
      ValueError: in one sentence, if anything does not fit.
    """
    check_rows(run.table, run.rows)
    rows = [row for row in run.table.rows if not row.left_out]
    if not rows:
        raise ValueError(f"table {run.table.name} has no row that can be run")
    images = list_images(run.images, run.out)
    picked = {row.name: choose(images, row, run.limit) for row in rows}
    for row in rows:
        check_sizes(picked[row.name], run.size or row.crop)
    named = {entry.name: entry for entries in picked.values() for entry in entries}
    classes = class_labels(list(named), run.images, run.labels, run.classes)
    labels = None
    if classes is not None:
        labels = {named[name].output: label for name, label in classes.items()}
    prior, conditioned = _load(run, labels, progress)
    choice = Choice(has_labels=labels is not None, progress=obtaining)
    experiments = [
        _experiment(run, row, picked[row.name], labels, prior, conditioned, choice)
        for row in rows
    ]
    chosen = [e for e in experiments if not run.rows or e.row.name in run.rows]
    return TablePlan(run, prior, experiments, chosen, len(images))


def _load(
    run: TableRun, labels: Mapping[str, int] | None, progress: Progress | None
) -> tuple[Prior, bool]:
    """The prior, and whether it takes the labels.

    Raises:
      ValueError: if there is no such prior, or it lacks labels or a class of theirs.
    """
    config = read_metadata(find_prior(run.prior, progress))["config"]
    classes = config.get("num_classes")
    if classes is None:
        return load_prior(run.prior), False
    prior = load_prior(run.prior, label=0)
    if labels is not None:
        if max(labels.values()) >= classes:
            raise ValueError(
                f"the prior {run.prior} has {classes} classes, and the labels go to "
                f"{max(labels.values())}"
            )
        return prior, True
    if prior.null_label is None:
        raise ValueError(
            f"the prior {run.prior} needs the class of each image: keep the images in "
            "folders named by their synsets (n01440764), or give --labels FILE"
        )
    return prior.condition(label=prior.null_label), False


def _experiment(
    run: TableRun,
    row: TableRow,
    entries: list[Entry],
    labels: Mapping[str, int] | None,
    prior: Prior,
    conditioned: bool,
    choice: Choice,
) -> Experiment:
    """A row, checked.

    Raises:
      ValueError: naming the row.
    """
    crop = run.size or row.crop
    own = prior.image_shape
    if own is not None and own[:2] != (crop, crop):
        raise ValueError(
            f"the prior {run.prior} is for images of {own[0]} x {own[1]} pixels, and "
            f"row {row.name} has {crop} x {crop}; choose another prior, or --size "
            f"{own[0]}"
        )
    originals = run.out / "originals" / f"{crop}-{row.pick}-{len(entries)}"
    try:
        task = Task.parse(row.task).within(run.table.folder)
        request = Request(
            task.with_noise(row.noise or None),
            simulate=True,
            sampler=parse(row.sampler),
            prior=run.prior,
            label=0 if conditioned else None,
            seed=run.seed,
        )
        evaluations = _check(request, prior, crop, originals)
        measures = choice.measures(
            run.metrics or row.metrics, len(entries), required=bool(run.metrics)
        )
    except ValueError as error:
        raise ValueError(f"row {row.name}: {error}") from None
    return Experiment(
        row,
        crop,
        entries,
        request,
        evaluations,
        originals,
        run.out / "restored" / row.name,
        labels,
        measures,
        conditioned,
    )


def _check(request: Request, prior: Prior, crop: int, folder: Path) -> int:
    """Refuse what `restore` would refuse; the number of evaluations for an image.

    Raises:
      ValueError: in one sentence.
    """
    degradation = request.degradation((crop, crop), folder / "image.png")
    operator = degradation.operator
    prior = fit_prior(prior, operator.restored_shape, request.tile)
    problem = blank_problem(operator, degradation.level)
    sampler = check_request(prior, problem, request.sampler)
    check_memory(prior, operator.restored_shape)
    return sampler.evaluations


def plan_lines(plan: TablePlan) -> list[str]:
    """What will run, for people to read."""
    run, table = plan.run, plan.run.table
    lines = [f"{table.name}: {table.title}"]
    lines += [f"note: {note}" for note in table.notes]
    total = 0
    for experiment in plan.chosen:
        row, count = experiment.row, len(experiment.entries)
        total += count * experiment.evaluations
        wanted = ""
        if row.images is not None and count < row.images:
            wanted = f" (the table's {row.images}, of which {plan.available} are here)"
        noise = f", noise {row.noise:g}" if row.noise else ""
        lines.append(
            f"{row.name}: {row.task}{noise}, {experiment.request.sampler}, {count} "
            f"images of {experiment.crop} x {experiment.crop}{wanted}"
        )
        lines += [f"  note: {note}" for note in row.notes]
    lines += [f"{row.name} is left out: {row.left_out}" for row in plan.left_out]
    missing = {
        f"{name}: {reason}": None
        for experiment in plan.chosen
        for name, reason in experiment.measures.missing.items()
    }
    lines += [f"not computed: {text}" for text in missing]
    lines.append(f"in all {total} evaluations of the prior {run.prior}")
    return lines
