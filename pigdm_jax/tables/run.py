"""Running a table: originals, restorations, metrics, and the report."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import multihost

from pigdm_jax.core.files import json_text, write_whole
from pigdm_jax.core.locks import locked
from pigdm_jax.devices.hosts import PATIENCE_SECONDS
from pigdm_jax.folder.job import run as run_job
from pigdm_jax.pictures.writing import write_picture
from pigdm_jax.tables.curves import write_curves
from pigdm_jax.tables.experiment import Experiment
from pigdm_jax.tables.measures import (
    Scores,
    compute_scores,
    outputs_digest,
    read_scores,
)
from pigdm_jax.tables.originals import write_originals
from pigdm_jax.tables.plan import TablePlan
from pigdm_jax.tables.report import as_csv, markdown
from pigdm_jax.tables.sheet import contact_sheet

SETTINGS = "run.json"
LOCK, SCRATCH = "lock", "unfinished"


class Outcome(NamedTuple):
    """What a run wrote.

    Attributes:
      files: the table as Markdown and CSV, the contact sheet, and a page of curves if
        an entry of the table was run with several numbers of steps.
      failed: number of images that could not be restored.
    """

    files: list[Path]
    failed: int


def run_table(
    plan: TablePlan,
    row_progress: Callable[[Experiment], None] = lambda experiment: None,
) -> Outcome:
    """Run a table, or go on with it.

    Every process restores its part of each row. When all are done, the first one
    evaluates and writes the report.

    Args:
      plan: what to do.
      row_progress: called when a row begins.

    Raises:
      ValueError: in one sentence, if the output folder is another run's, an image
        cannot be read, or a file cannot be written.
    """
    out = plan.run.out
    process, processes = jax.process_index(), jax.process_count()
    with locked(out / LOCK, process, processes):
        check_settings(plan, write=process == 0)
        failed = 0
        for experiment in plan.chosen:
            row_progress(experiment)
            write_originals(
                experiment.entries,
                experiment.crop,
                experiment.originals,
                out / f"{SCRATCH}-{process}",
                process,
                processes,
            )
            failed += run_job(experiment.job(plan.run, plan.prior)).failed
        if processes > 1:
            # It waits for hours if need be: hosts may be of different speed.
            multihost.sync_global_processes(
                "table restored",
                timeout=PATIENCE_SECONDS,
                processes=set(range(processes)),
            )
        if process:
            return Outcome([], failed)
        for experiment in plan.chosen:
            _score(plan, experiment)
        return Outcome(write_report(plan), failed)


def check_settings(plan: TablePlan, *, write: bool) -> None:
    """Refuse to mix runs in a folder.

    Args:
      plan: what to do.
      write: whether to note its settings.

    Raises:
      ValueError: if the folder holds other files, or a run with other settings.
    """
    out, settings = plan.run.out, plan.settings()
    saved = _read_settings(out)
    if saved is None:
        names = (path.name for path in out.iterdir())
        others = sorted(x for x in names if x != LOCK and not x.startswith(SCRATCH))
        if others and write:
            raise ValueError(
                f"--out {out} holds {others[0]}, which no run of a table wrote; choose "
                "another folder"
            )
        saved = settings | {"rows": {}}
    for name, value in settings.items():
        if saved[name] != value:
            was = f", {saved[name]} before and {value} now" if name != "prior" else ""
            raise ValueError(
                f"{out} holds a run with another {name}{was}; use the same flags to "
                "continue it, or another --out"
            )
    rows = {experiment.row.name: experiment.digest for experiment in plan.chosen}
    for name, digest in rows.items():
        if saved["rows"].get(name, digest) != digest:
            raise ValueError(
                f"{out} holds row {name} of other images or with other settings; "
                "choose another --out"
            )
    if write:
        saved["rows"] |= rows
        write_whole(out / SETTINGS, json_text(saved).encode())


def _read_settings(out: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None if there is none.

    Raises:
      ValueError: if they are damaged.
    """
    try:
        saved = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
        names = {"prior", "size", "limit", "seed", "rows"}
        if saved.keys() != names or not isinstance(saved["rows"], dict):
            raise ValueError
        return saved
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        raise ValueError(f"{out / SETTINGS} is damaged; choose another --out") from None


def _score(plan: TablePlan, experiment: Experiment) -> Scores | None:
    """Evaluate a row; None if an image of it failed."""
    run, names = plan.run, set(_names(experiment.restored))
    missing = len(experiment.entries) - len(names)
    if missing:
        run.remark(
            f"{experiment.row.name}: {missing} images could not be restored, so the "
            "row is not evaluated; run the same command again to try them once more"
        )
        return None
    return compute_scores(
        experiment.measures.names,
        experiment.restored,
        experiment.originals,
        _file(plan, experiment),
        labels=experiment.labels,
        progress=run.progress,
    )


def _names(folder: Path) -> Iterable[str]:
    for path in folder.rglob("[!.]*.png"):
        yield path.relative_to(folder).as_posix()


def _file(plan: TablePlan, experiment: Experiment) -> Path:
    return plan.run.out / "scores" / f"{experiment.row.name}.json"


def write_report(plan: TablePlan) -> list[Path]:
    """Write tables, contact sheet and curves of all rows that have been evaluated.

    Args:
      plan: of the table.

    Raises:
      ValueError: if a file cannot be written.
    """
    results, done = {}, []
    rows = (_read_settings(plan.run.out) or {}).get("rows", {})
    for experiment in plan.experiments:
        if rows.get(experiment.row.name) != experiment.digest:
            continue
        scores = read_scores(_file(plan, experiment))
        if scores is None or scores.outputs != outputs_digest(experiment.restored):
            continue
        results[experiment.row.name] = scores
        done.append(experiment)
    out = plan.run.out
    files = [out / "table.md", out / "table.csv", out / "sheet.png"]
    write_whole(files[0], markdown(plan, results).encode())
    write_whole(files[1], as_csv(plan, results).encode())
    if not done:
        return files[:2]
    write_picture(files[2], contact_sheet(done))
    page = out / "curves.html"
    return [*files, page] if write_curves(page, plan, results) else files
