"""What a table's run will do, checked before anything is computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pigdm_jax.devices.memory import check_memory
from pigdm_jax.devices.programs import blank_problem
from pigdm_jax.folder.listing import FolderEntry
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior
from pigdm_jax.restoration import check_request
from pigdm_jax.samplers import parse
from pigdm_jax.tables.experiment import Experiment, TableRun
from pigdm_jax.tables.labels import class_labels
from pigdm_jax.tables.measures import Choice
from pigdm_jax.tables.originals import check_sizes, choose, list_images
from pigdm_jax.tables.table import Table, TableRow
from pigdm_jax.weights.downloads import Progress
from pigdm_jax.weights.metadata import content_digest, read_metadata
from pigdm_jax.weights.names import find_prior
from pigdm_jax.weights.store import load_prior


class TablePlan(NamedTuple):
    """A checked run.

    Attributes:
      run: what was asked for.
      prior: the diffusion model.
      experiments: every row that can be run so.
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


def chosen_rows(table: Table, names: Sequence[str]) -> list[TableRow]:
    """The rows of a table that are to be run.

    Args:
      table: the table.
      names: of rows, or of entries that have a row for each number of steps; none for
        all rows.

    Raises:
      ValueError: in one sentence, if there is no such row, or it is left out.
    """
    for name in names:
        found = [row for row in table.rows if name in (row.name, row.group)]
        if not found:
            known = ", ".join(row.name for row in table.rows)
            raise ValueError(f"table {table.name} has no row {name!r}; it has {known}")
        for row in found:
            if row.left_out:
                raise ValueError(f"row {name} is left out: {row.left_out}")
    every = [row for row in table.rows if not row.left_out]
    if not every:
        raise ValueError(f"table {table.name} has no row that can be run")
    return [row for row in every if not names or {row.name, row.group} & {*names}]


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
    wanted = chosen_rows(run.table, run.rows)
    rows = [row for row in run.table.rows if not row.left_out]
    images = list_images(run.images, run.out)
    picked = {row.name: choose(images, row, run.limit) for row in rows}
    for row in wanted:
        check_sizes(picked[row.name], run.size or row.crop)
    named = {entry.name: entry for entries in picked.values() for entry in entries}
    classes = class_labels(list(named), run.images, run.labels, run.classes)
    labels = None
    if classes is not None:
        labels = {named[name].output: label for name, label in classes.items()}
    prior, conditioned = _load(run, labels, progress)
    choice = Choice(has_labels=labels is not None, progress=obtaining)
    experiments, chosen = [], []
    for row in rows:
        known = picked[row.name], labels
        try:
            experiment = _experiment(run, row, *known, prior, conditioned, choice)
        except ValueError:
            if row in wanted:
                raise
            continue  # it is not asked for, and so not in the report
        experiments.append(experiment)
        if row in wanted:
            chosen.append(experiment)
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
    entries: list[FolderEntry],
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
