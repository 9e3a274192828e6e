"""An evaluation as one HTML page, which needs no other file and no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from pigdm_jax.core.files import write_whole
from pigdm_jax.core.text import printable
from pigdm_jax.metrics.base import Metric
from pigdm_jax.metrics.charts import histogram
from pigdm_jax.metrics.plan import Evaluation
from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.reading import read_image

CASES = 4  # the best and the worst pictures that are shown for each metric
THUMBNAIL = 220  # the long side in pixels
ROWS = 500  # of the table of pictures
ARROWS = {"higher": "↑", "lower": "↓"}


def write_report(path: Path, evaluation: Evaluation, title: str = "Evaluation") -> None:
    """Write a page with tables, distributions, and the best and worst pictures.

    Args:
      path: of the file.
      evaluation: the values; the pictures are read again.
      title: of the page.

    Raises:
      ValueError: if a picture cannot be read, or the file cannot be written.
    """
    parts = [
        f"<p>{evaluation.count} picture{'s' * (evaluation.count != 1)}.</p>",
        *(f'<p class="remark">{_text(remark)}</p>' for remark in evaluation.remarks),
        _table(evaluation),
    ]
    for name, values in evaluation.per_image.items():
        parts += _section(evaluation, evaluation.metrics[name], values)
    if evaluation.per_image:
        parts.append(_pictures(evaluation))
    write_page(path, title, parts)


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write a page that needs no other file.

    Args:
      path: of the file.
      title: of the page.
      parts: HTML, one below the other.

    Raises:
      ValueError: if the file cannot be written.
    """
    page = files("pigdm_jax.metrics").joinpath("report.html").read_text("utf-8")
    page = page.replace("{{title}}", _text(title))
    body = "\n".join([f"<h1>{_text(title)}</h1>", *parts])
    write_whole(path, page.replace("{{body}}", body).encode())


def figure(heading: str, chart: str) -> str:
    """A drawing, as `pigdm_jax.metrics.charts` makes them, below its heading."""
    return f"<h2>{_text(heading)}</h2><figure>{chart}</figure>"


def _text(text: str) -> str:
    return escape(printable(text))


def _number(metric: Metric, value: float) -> str:
    return _text(metric.text(value))


def _table(evaluation: Evaluation) -> str:
    """The values of all metrics."""
    rows = []
    for name, summary in evaluation.summary.items():
        metric = evaluation.metrics[name]
        shown = ["", "", ""]
        if column := evaluation.per_image.get(name):
            values = list(column.values())
            quantiles = np.quantile(values, [0, 0.5, 1], method="nearest")
            shown = [_number(metric, float(value)) for value in quantiles]
        cells = [_text(metric.text(*summary)), *shown]
        rows.append(
            f"<tr><th>{_text(metric.title)} {ARROWS[metric.better]}</th>"
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return (
        "<table><thead><tr><th>Metric</th><th>Value ± standard error</th>"
        "<th>Lowest</th><th>Median</th><th>Highest</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        "<p>↑: higher is better, ↓: lower is better.</p>"
    )


def _section(
    evaluation: Evaluation, metric: Metric, values: Mapping[str, float]
) -> list[str]:
    """The distribution of a metric, and its worst and best pictures."""
    unit = f" in {metric.unit}" if metric.unit else ""
    chart = histogram(list(values.values()), f"{metric.title}{unit}")
    parts = [figure(metric.title, chart)]
    ordered = sorted(values, key=values.__getitem__, reverse=metric.better == "higher")
    worst = ordered[::-1][:CASES]
    beside = "" if _alone(evaluation) else ", beside their references"
    for heading, names in (("Worst", worst), ("Best", ordered[:CASES])):
        cases = "".join(_case(evaluation, metric, name) for name in names)
        parts.append(f'<h3>{heading}{beside}</h3><div class="cases">{cases}</div>')
    return parts


def _alone(evaluation: Evaluation) -> bool:
    """Whether pictures have no references."""
    return all(reference is None for _, reference in evaluation.pictures.values())


def _case(evaluation: Evaluation, metric: Metric, name: str) -> str:
    """A picture beside its reference."""
    image, reference = evaluation.pictures[name]
    shown = [("restored", image)]
    if reference is not None:
        shown.append(("reference", reference))
    pictures = "".join(
        f'<img src="{_thumbnail(path)}" alt="{_text(f"{what}: {name}")}" '
        f'title="{what}">'
        for what, path in shown
    )
    value = _number(metric, evaluation.per_image[metric.name][name])
    return (
        f'<figure class="case"><div>{pictures}</div><figcaption>{_text(name)}: {value}'
        "</figcaption></figure>"
    )


def _thumbnail(path: Path) -> str:
    """A small copy of a picture as the text of an address."""
    picture = to_picture(read_image(path)).convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _pictures(evaluation: Evaluation) -> str:
    """The values of each picture, folded away."""
    metrics = [evaluation.metrics[name] for name in evaluation.per_image]
    heads = "".join(f"<th>{_text(metric.title)}</th>" for metric in metrics)
    names: Sequence[str] = list(evaluation.pictures)[:ROWS]
    rows = "".join(
        f"<tr><th>{_text(name)}</th>"
        + "".join(
            f"<td>{_number(m, evaluation.per_image[m.name][name])}</td>"
            for m in metrics
        )
        + "</tr>"
        for name in names
    )
    more = evaluation.count - len(names)
    note = f"<p>{more} more are left out here.</p>" if more else ""
    return (
        f"<details><summary>Every picture</summary><table><thead><tr><th>Picture</th>"
        f"{heads}</tr></thead><tbody>{rows}</tbody></table>{note}</details>"
    )
