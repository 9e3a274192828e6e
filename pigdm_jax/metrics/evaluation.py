"""Evaluation of a folder of restored pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pigdm_jax.core.checks import check_count, given
from pigdm_jax.core.files import check_name_writable
from pigdm_jax.core.paths import check_path
from pigdm_jax.metrics.base import DistributionMetric, ImageMetric, Metric
from pigdm_jax.metrics.frechet import FrechetDistance, Gaussian, read_statistics
from pigdm_jax.metrics.pairing import (
    EvaluationRow,
    check_sizes,
    list_rows,
    pair,
    with_labels,
)
from pigdm_jax.metrics.plan import Evaluation, EvaluationPlan, Obtaining, Progress
from pigdm_jax.metrics.registry import DEFAULT, find_metric

STATISTICS = ".npz"


def evaluate_folders(
    restored: str | Path,
    reference: str | Path | None = None,
    metrics: Sequence[str | Metric] = DEFAULT,
    *,
    labels: Mapping[str, int] | None = None,
    batch: int = 8,
    partial: bool = False,
    save_statistics: str | Path | None = None,
    progress: Progress | None = None,
    obtaining: Obtaining | None = None,
) -> Evaluation:
    """Evaluate restored pictures, in a folder and the folders in it.

    Pictures are read as they are needed, so their number is not limited by memory, and
    batches are distributed over the devices of this process. Metrics of one image
    compare pictures of the same names, without suffix; those of distributions compare
    all pictures of both folders.

    Args:
      restored: the folder of restored pictures.
      reference: the folder of clean pictures, or, for the Fréchet distance alone, the
        .npz file of their statistics; not needed if no metric compares.
      metrics: names of `METRICS`, "consistency:TASK", or metrics of your own.
      labels: the class of each picture, by its name with or without suffix, for
        metrics of a classifier.
      batch: pictures evaluated at once.
      partial: whether there may be references without a restored picture.
      save_statistics: an .npz file to which the statistics of the reference pictures
        for the Fréchet distance are written, in the format of pytorch-fid.
      progress: called with the number of pictures that are done, and of all.
      obtaining: called while the weights of a network are downloaded, as
        `load_prior` calls its `progress`.

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
        restored,
        reference,
        metrics,
        labels=labels,
        batch=batch,
        partial=partial,
        save_statistics=save_statistics,
    )
    return plan.run(progress, obtaining)


def plan_evaluation(
    restored: str | Path,
    reference: str | Path | None = None,
    metrics: Sequence[str | Metric] = DEFAULT,
    *,
    labels: Mapping[str, int] | None = None,
    batch: int = 8,
    partial: bool = False,
    save_statistics: str | Path | None = None,
) -> EvaluationPlan:
    """Check an evaluation; the arguments are those of `evaluate_folders`.

    Raises:
      ValueError: as `evaluate_folders`.
    """
    check_count("batch", batch)
    chosen = choose_metrics(metrics)
    images = [metric for metric in chosen if isinstance(metric, ImageMetric)]
    distances = [metric for metric in chosen if isinstance(metric, DistributionMetric)]
    statistics = _statistics(reference, images)
    _check_needs(chosen, reference, labels)
    folder = None if statistics else reference
    rows, references = list_rows(restored, folder), list[EvaluationRow]()
    if folder is not None and any(metric.needs_reference for metric in chosen):
        references = list_rows(folder, restored)
    for metric in images:
        check_sizes(rows, metric)
    if any("reference" in metric.inputs for metric in images):
        rows = pair(rows, references, partial=partial)
    if any("label" in metric.inputs for metric in images):
        limits = [metric.classes for metric in images if metric.classes is not None]
        rows = with_labels(rows, labels or {}, min(limits, default=None))
    count = None if statistics else len(references)
    said = [metric.remark(len(rows), count) for metric in distances]
    return EvaluationPlan(
        chosen,
        rows,
        references if distances else [],
        batch,
        statistics,
        _output(save_statistics, distances, references),
        tuple(remark for remark in said if remark is not None),
    )


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
        else:
            chosen.append(find_metric(metric))
    names = [metric.name for metric in chosen]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"metrics must be different ones, got {', '.join(names)}")
    return tuple(chosen)


def _statistics(
    reference: str | Path | None, images: Sequence[ImageMetric]
) -> Gaussian | None:
    """The statistics in a file that is given as reference; None for a folder.

    Raises:
      ValueError: if a metric needs pictures, or the file holds no statistics.
    """
    if reference is None:
        return None
    check_path(reference)
    if Path(reference).suffix.lower() != STATISTICS:
        return None
    for metric in images:
        if "reference" in metric.inputs:
            raise ValueError(
                f"{metric.name} needs a folder of reference pictures, and {reference} "
                "holds statistics of them"
            )
    return read_statistics(Path(reference))


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


def _output(
    path: str | Path | None,
    distances: Sequence[DistributionMetric],
    references: Sequence[EvaluationRow],
) -> Path | None:
    """The file to write statistics to.

    Raises:
      ValueError: if there are none, or it cannot be written.
    """
    if path is None:
        return None
    check_path(path)
    path = Path(path)
    if not (references and any(isinstance(m, FrechetDistance) for m in distances)):
        raise ValueError(
            "statistics are saved of a folder of reference pictures, by the metric fid"
        )
    if path.suffix.lower() != STATISTICS or not path.absolute().parent.is_dir():
        raise ValueError(
            f"statistics are saved in a {STATISTICS} file in a folder that exists, got "
            f"{path}"
        )
    check_name_writable(path)
    return path
