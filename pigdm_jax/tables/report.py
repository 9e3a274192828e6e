"""The results of a table as Markdown and CSV, beside the published figures."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from pigdm_jax.metrics import METRICS
from pigdm_jax.metrics.base import Summary
from pigdm_jax.tables.experiment import Experiment
from pigdm_jax.tables.measures import Scores
from pigdm_jax.tables.plan import TablePlan
from pigdm_jax.tables.table import Published

Results = Mapping[str, Scores]
"""The values of the rows that have been run, by their names."""

COLUMNS = (
    *("table", "row", "task", "noise", "sampler", "method", "evaluations", "images"),
    *("size", "metric", "value", "error", "second_hand", "source"),
)


def markdown(plan: TablePlan, results: Results) -> str:
    """The table as Markdown: our values, and below them the published ones."""
    run, table = plan.run, plan.run.table
    metrics = _metrics(plan, results)
    titles = [_title(name) for name in metrics]
    header = ["", "method", "evaluations", "images", *titles]
    lines = [f"# {table.title}", ""]
    if table.paper:
        lines += [f"Settings and published figures: {table.paper}.", ""]
    lines += [
        f"pigdm_jax with the prior {run.prior}, seed {run.seed}. ± is one standard "
        "error over the images.",
        "",
        f"| {' | '.join(header)} |",
        f"| {' | '.join(['---'] * len(header))} |",
    ]
    marks: dict[str, str] = {}
    for experiment in plan.experiments:
        scores = results.get(experiment.row.name)
        if scores is None and not experiment.row.published:
            continue
        lines.append(_our_line(experiment, scores, metrics))
        lines += [
            _their_line(published, metrics, marks)
            for published in experiment.row.published
        ]
    if marks:
        lines += ["", *(f"{mark} {text}  " for text, mark in marks.items())]
    remarks = list(_remarks(plan, results))
    if remarks:
        lines += ["", *(f"- {remark}" for remark in remarks)]
    return "\n".join([*lines, ""])


def _metrics(plan: TablePlan, results: Results) -> list[str]:
    """All metrics that have a value, in the order of the rows."""
    names: dict[str, None] = {}
    for experiment in plan.experiments:
        scores = results.get(experiment.row.name)
        names |= dict.fromkeys(scores.summary if scores else ())
    for experiment in plan.experiments:
        for published in experiment.row.published:
            names |= dict.fromkeys(published.figures)
    return list(names)


def _title(name: str) -> str:
    if name not in METRICS:
        return name
    metric = METRICS[name]
    arrow = "↑" if metric.better == "higher" else "↓"
    return f"{metric.title}{metric.unit and f', {metric.unit}'} {arrow}"


def _our_line(
    experiment: Experiment, scores: Scores | None, metrics: Iterable[str]
) -> str:
    cells = [_cell(experiment.row.title), "**pigdm_jax**", str(experiment.evaluations)]
    if scores is None:
        return f"| {' | '.join([*cells, 'not run', *('' for _ in metrics)])} |"
    cells.append(f"{scores.images}, {experiment.crop} x {experiment.crop}")
    values = [scores.summary.get(name) for name in metrics]
    cells += [
        "" if value is None else _value(name, value)
        for name, value in zip(metrics, values, strict=True)
    ]
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """A text in a cell, which a bar would end."""
    return text.replace("|", "\\|")


def _value(name: str, value: Summary) -> str:
    text = _number(name, value.value)
    return text if value.error is None else f"{text} ± {_number(name, value.error)}"


def _number(name: str, value: float) -> str:
    digits = METRICS[name].digits if name in METRICS else 3
    return f"{value:.{digits}f}"


def _their_line(
    published: Published, metrics: Iterable[str], marks: dict[str, str]
) -> str:
    said = f"second-hand: {published.source}"
    source = said if published.second_hand else published.source
    mark = marks.setdefault(source, f"({len(marks) + 1})")
    evaluations = "" if published.evaluations is None else str(published.evaluations)
    cells = ["", f"{_cell(published.method)} {mark}", evaluations, ""]
    # As it is stated, with all of its digits and no others.
    values = (published.figures.get(name) for name in metrics)
    cells += ["" if value is None else f"{value:g}" for value in values]
    return f"| {' | '.join(cells)} |"


def _remarks(plan: TablePlan, results: Results) -> Iterable[str]:
    """What a reader of the table must know, each remark once."""
    yield from plan.run.table.notes
    titles: dict[str, list[str]] = {}
    done = [e for e in plan.experiments if e.row.name in results]
    for experiment in done:
        for remark in _row_remarks(plan, experiment, results[experiment.row.name]):
            titles.setdefault(remark, []).append(experiment.row.title)
    for remark, rows in titles.items():
        everywhere = len(rows) == len(done)
        yield remark if everywhere else f"{'; '.join(rows)}: {remark}"
    for row in plan.left_out:
        yield f"{row.title} is left out: {row.left_out}"


def _row_remarks(
    plan: TablePlan, experiment: Experiment, scores: Scores
) -> Iterable[str]:
    row, data = experiment.row, plan.run.table.data
    if row.images is not None and scores.images < row.images:
        yield f"{scores.images} images instead of {row.images} ({data})"
    if experiment.crop != row.crop:
        yield (
            f"images of {experiment.crop} x {experiment.crop} instead of {row.crop} x "
            f"{row.crop} pixels"
        )
    yield from row.notes
    for name, reason in experiment.measures.missing.items():
        if name not in scores.summary:
            yield f"{name} is not computed: {reason}"
    yield from scores.remarks


def as_csv(plan: TablePlan, results: Results) -> str:
    """The table as CSV, with a line for each value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for experiment in plan.experiments:
        row, scores = experiment.row, results.get(experiment.row.name)
        common = {
            "table": plan.run.table.name,
            "row": row.name,
            "task": row.task,
            "noise": row.noise,
        }
        if scores is not None:
            ours = common | {
                "sampler": str(experiment.request.sampler),
                "method": f"pigdm_jax, {plan.run.prior}",
                "evaluations": experiment.evaluations,
                "images": scores.images,
                "size": experiment.crop,
            }
            for name, value in scores.summary.items():
                error = "" if value.error is None else value.error
                found = {"metric": name, "value": value.value, "error": error}
                writer.writerow(ours | found)
        for published in row.published:
            for line in _their_cells(published):
                writer.writerow(common | line)
    return text.getvalue()


def _their_cells(published: Published) -> Iterable[dict[str, Any]]:
    for name, value in published.figures.items():
        yield {
            "method": published.method,
            "evaluations": published.evaluations or "",
            "metric": name,
            "value": value,
            "second_hand": published.second_hand,
            "source": published.source,
        }
