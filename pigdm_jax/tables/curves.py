"""The metrics of a table against the number of evaluations, as a page."""

from pathlib import Path

from pigdm_jax.metrics import METRICS
from pigdm_jax.metrics.base import Summary
from pigdm_jax.metrics.charts import curves
from pigdm_jax.metrics.report import figure, write_page
from pigdm_jax.tables.plan import TablePlan
from pigdm_jax.tables.report import Results


def write_curves(path: Path, plan: TablePlan, results: Results) -> bool:
    """Write a page with a figure for each metric; a curve is an entry of the table.

    Args:
      path: of the .html file.
      plan: of the table.
      results: the values of its rows.

    Returns:
      Whether it was written: some entry needs results at two numbers of evaluations.

    Raises:
      ValueError: if the file cannot be written.
    """
    charts = []
    for name, series in _series(plan, results).items():
        metric = METRICS.get(name)
        unit = f", {metric.unit}" if metric is not None and metric.unit else ""
        title = name if metric is None else metric.title
        charts.append(figure(title, curves(series, "evaluations", f"{title}{unit}")))
    if charts:
        write_page(path, plan.run.table.title, charts)
    return bool(charts)


def _series(
    plan: TablePlan, results: Results
) -> dict[str, dict[str, dict[float, Summary]]]:
    """Values by metric, entry of the table, and number of evaluations."""
    found: dict[str, dict[str, dict[float, Summary]]] = {}
    for experiment in plan.experiments:
        scores = results.get(experiment.row.name)
        for name, value in (scores.summary if scores else {}).items():
            curve = found.setdefault(name, {}).setdefault(experiment.row.group, {})
            curve[experiment.evaluations] = value
    longer = {
        name: {group: curve for group, curve in series.items() if len(curve) > 1}
        for name, series in found.items()
    }
    return {name: series for name, series in longer.items() if series}
