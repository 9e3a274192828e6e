"""Evaluation of a folder of restored pictures."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pigdm_jax.core.checks import check_count, given
from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.metrics.base import DistributionMetric, ImageMetric, Metric, Summary
from pigdm_jax.metrics.pairing import Row, list_rows, pair, with_labels
from pigdm_jax.metrics.registry import DEFAULT, METRICS
from pigdm_jax.metrics.streaming import Batch, batches

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are done, and of all pictures."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The values of metrics for a set of pictures.

    Attributes:
      metrics: those that were computed, by name.
      per_image: values of metrics of one image, by the metric's and the picture's name.
      summary: the mean over pictures, or the value of a metric of distributions, with
        its standard error, by the metric's name.
      count: number of pictures.
      remarks: what a reader of the values should know.
    """

    metrics: Mapping[str, Metric]
    per_image: Mapping[str, Mapping[str, float]]
    summary: Mapping[str, Summary]
    count: int
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """A checked evaluation.

    Attributes:
      metrics: what to compute.
      rows: the restored pictures.
      references: pictures whose features metrics of distributions compare with.
      batch: pictures evaluated at once.
      remarks: what a reader of the values should know.
    """

    metrics: tuple[Metric, ...]
    rows: list[Row]
    references: list[Row]
    batch: int
    remarks: tuple[str, ...]

    def run(self, progress: Progress | None = None) -> Evaluation:
        """Compute the values.

        Args:
          progress: called with the number of pictures that are done, and of all.

        Raises:
          ValueError: if a picture cannot be read.
        """
        done, total = 0, len(self.rows) + len(self.references)
        report: Progress = progress or (lambda done, total: None)
        images = tuple(m for m in self.metrics if isinstance(m, ImageMetric))
        values: dict[str, dict[str, float]] = {m.name: {} for m in images}
        report(done, total)
        for batch in batches(self.rows, self.batch, _inputs(images)):
            for name, column in _score(images, batch).items():
                values[name] |= zip(batch.names, column, strict=True)
            report(done := done + len(batch.names), total)
        order = [row.name for row in self.rows]
        per_image = {
            name: {key: column[key] for key in order} for name, column in values.items()
        }
        summary = {name: _mean(list(v.values())) for name, v in per_image.items()}
        metrics = {m.name: m for m in self.metrics}
        return Evaluation(metrics, per_image, summary, len(self.rows), self.remarks)


def evaluate_folders(
    restored: str | Path,
    reference: str | Path | None = None,
    metrics: Sequence[str | Metric] = DEFAULT,
    *,
    labels: Mapping[str, int] | None = None,
    batch: int = 8,
    partial: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate restored pictures, in a folder and the folders in it.

    Pictures are read as they are needed, so their number is not limited by memory. They
    are compared with the pictures of the same names, without suffix.

    Args:
      restored: the folder of restored pictures.
      reference: the folder of clean pictures; not needed if no metric compares.
      metrics: names of `METRICS`, or metrics of your own.
      labels: the class of each picture, by its name, for metrics of a classifier.
      batch: pictures evaluated at once.
      partial: whether there may be references without a restored picture.
      progress: called with the number of pictures that are done, and of all.

    Raises:
      ValueError: before anything is computed, if a metric is unknown or lacks what it
        needs, a picture lacks its reference or has another size, or cannot be read.

    Examples:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np, pigdm_jax as pj
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("restored", "clean"):
      ...         Path(folder, name).mkdir()
      ...         image = np.full((16, 16, 3), 0.2 * (name == "restored"))
      ...         pj.write_picture(f"{folder}/{name}/1.png", image)
      ...     found = pj.metrics.evaluate_folders(
      ...         Path(folder, "restored"), Path(folder, "clean"), ["psnr"]
      ...     )
      >>> found.metrics["psnr"].text(found.summary["psnr"].value)
      '20.17 dB'
    """
    plan = plan_evaluation(
        restored, reference, metrics, labels=labels, batch=batch, partial=partial
    )
    return plan.run(progress)


def plan_evaluation(
    restored: str | Path,
    reference: str | Path | None = None,
    metrics: Sequence[str | Metric] = DEFAULT,
    *,
    labels: Mapping[str, int] | None = None,
    batch: int = 8,
    partial: bool = False,
) -> Plan:
    """Check an evaluation; the arguments are those of `evaluate_folders`.

    Raises:
      ValueError: as `evaluate_folders`.
    """
    check_count("batch", batch)
    chosen = choose_metrics(metrics)
    _check_needs(chosen, reference, labels)
    compares = any(metric.needs_reference for metric in chosen)
    rows, references = list_rows(restored, reference), []
    if reference is not None and compares:
        references = list_rows(reference, restored)
    images = [metric for metric in chosen if isinstance(metric, ImageMetric)]
    inputs = _inputs(images)
    if "reference" in inputs:
        rows = pair(rows, references, partial=partial)
    if "label" in inputs:
        rows = with_labels(rows, labels or {})
    remarks = []
    if distances := [m for m in chosen if isinstance(m, DistributionMetric)]:
        said = [m.remark(len(rows), len(references)) for m in distances]
        remarks = [remark for remark in said if remark is not None]
    else:
        references = []
    return Plan(chosen, rows, references, batch, tuple(remarks))


def choose_metrics(metrics: Any) -> tuple[Metric, ...]:
    """Metrics from their names.

    Args:
      metrics: a sequence of names and metrics.

    Raises:
      TypeError: if one is neither a name nor a metric.
      ValueError: if there is none, or one is unknown or there twice.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(f"metrics must be a list of them, got {given(metrics)}")
    chosen: list[Metric] = []
    for metric in metrics:
        if isinstance(metric, Metric):
            chosen.append(metric)
        elif not isinstance(metric, str):
            raise TypeError(f"a metric must be a name or a Metric, got {given(metric)}")
        elif metric in METRICS:
            chosen.append(METRICS[metric])
        else:
            raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    names = [metric.name for metric in chosen]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"metrics must be different ones, got {', '.join(names)}")
    return tuple(chosen)


def _check_needs(metrics: Sequence[Metric], reference: Any, labels: Any) -> None:
    """Refuse metrics that lack their references or labels.

    Raises:
      ValueError: if one does.
    """
    for metric in metrics:
        if metric.needs_reference and reference is None:
            raise ValueError(f"{metric.name} needs a folder of reference pictures")
        needs_label = isinstance(metric, ImageMetric) and "label" in metric.inputs
        if needs_label and labels is None:
            raise ValueError(f"{metric.name} needs the labels of the pictures")


def _inputs(metrics: Sequence[ImageMetric]) -> set[str]:
    return {name for metric in metrics for name in metric.inputs}


def _score(
    metrics: tuple[ImageMetric, ...], batch: Batch
) -> Mapping[str, Sequence[float]]:
    """The value of each metric for the pictures of a batch."""
    if not metrics:
        return {}
    values = jax.device_get(_values(batch.columns, metrics=metrics))
    count = len(batch.names)
    return {name: np.asarray(v, float)[:count].tolist() for name, v in values.items()}


def _values_of(
    columns: Mapping[str, Any], *, metrics: tuple[ImageMetric, ...]
) -> dict[str, Any]:
    return {
        metric.name: jax.vmap(metric.function)(
            *(columns[name] for name in metric.inputs)
        )
        for metric in metrics
    }


_values = tuned_jit(_values_of, static_argnames="metrics")


def _mean(values: Sequence[float]) -> Summary:
    """The mean with its standard error; infinite values have a mean but no error."""
    mean = sum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Summary(mean)
    return Summary(mean, float(np.std(values, ddof=1)) / math.sqrt(len(values)))
