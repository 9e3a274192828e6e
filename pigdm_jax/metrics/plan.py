"""A checked evaluation, and its result."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pigdm_jax.metrics.base import DistributionMetric, ImageMetric, Metric, Summary
from pigdm_jax.metrics.frechet import Gaussian, Moments, write_statistics
from pigdm_jax.metrics.pairing import EvaluationRow
from pigdm_jax.metrics.scoring import (
    Networks,
    feature_networks,
    features_of,
    load_networks,
    values_of,
)
from pigdm_jax.metrics.streaming import batches
from pigdm_jax.weights import downloads

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are done, and of all pictures."""

Obtaining = downloads.Progress


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The values of metrics for a set of pictures.

    Attributes:
      metrics: those that were computed, by name.
      per_image: values of metrics of one image, by the metric's and the picture's name.
      summary: the mean over pictures, or the value of a metric of distributions, with
        its standard error, by the metric's name.
      pictures: the path of each picture and of its reference, by the picture's name.
      remarks: what a reader of the values should know.
    """

    metrics: Mapping[str, Metric]
    per_image: Mapping[str, Mapping[str, float]]
    summary: Mapping[str, Summary]
    pictures: Mapping[str, tuple[Path, Path | None]]
    remarks: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.pictures)


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """A checked evaluation.

    Attributes:
      metrics: what to compute.
      rows: the restored pictures.
      references: pictures whose features metrics of distributions compare with.
      batch: pictures evaluated at once.
      statistics: those of the references, if they were read from a file.
      output: the file to write the statistics of the references to.
      remarks: what a reader of the values should know.
    """

    metrics: tuple[Metric, ...]
    rows: list[EvaluationRow]
    references: list[EvaluationRow]
    batch: int
    statistics: Gaussian | None = None
    output: Path | None = None
    remarks: tuple[str, ...] = ()

    def run(
        self, progress: Progress | None = None, obtaining: Obtaining | None = None
    ) -> Evaluation:
        """Compute the values.

        Args:
          progress: called with the number of pictures that are done, and of all.
          obtaining: called while the weights of a network are downloaded.

        Raises:
          ValueError: if a picture cannot be read, or weights cannot be obtained.
        """
        images = tuple(m for m in self.metrics if isinstance(m, ImageMetric))
        distances = [m for m in self.metrics if isinstance(m, DistributionMetric)]
        networks = load_networks(self.metrics, obtaining)
        counter = _Counter(len(self.rows) + len(self.references), progress)
        ours = {m.name: m.accumulator() for m in distances}
        columns = _score(
            self.rows, self.batch, images, distances, networks, ours, counter
        )
        theirs = self._reference(distances, networks, counter)
        values = {
            name: {row.name: column[row.name] for row in self.rows}
            for name, column in columns.items()
        }
        means = {name: _mean(list(column.values())) for name, column in values.items()}
        found = {m.name: m.compare(ours[m.name], theirs[m.name]) for m in distances}
        return Evaluation(
            {metric.name: metric for metric in self.metrics},
            values,
            {metric.name: (means | found)[metric.name] for metric in self.metrics},
            {row.name: (row.path, row.reference) for row in self.rows},
            self.remarks,
        )

    def _reference(
        self,
        distances: Sequence[DistributionMetric],
        networks: Networks,
        counter: "_Counter",
    ) -> dict[str, Any]:
        """Accumulators of the references, or their statistics; writes those."""
        if self.statistics is not None:
            return {m.name: self.statistics for m in distances}
        accumulators = {m.name: m.accumulator() for m in distances}
        if distances:
            rows, batch = self.references, self.batch
            _score(rows, batch, (), distances, networks, accumulators, counter)
        if self.output is not None:
            moments = [a for a in accumulators.values() if isinstance(a, Moments)]
            write_statistics(self.output, moments[0].gaussian())
        return accumulators


def _score(
    rows: Sequence[EvaluationRow],
    size: int,
    images: tuple[ImageMetric, ...],
    distances: Sequence[DistributionMetric],
    networks: Networks,
    accumulators: Mapping[str, Any],
    counter: "_Counter",
) -> dict[str, dict[str, float]]:
    """Values of metrics of one image; fills the accumulators of the others.

    Args:
      rows: the pictures.
      size: pictures evaluated at once, at most.
      images: metrics of one image.
      distances: the others.
      networks: of all of them.
      accumulators: of the others, by name.
      counter: of the pictures.
    """
    values: dict[str, dict[str, float]] = {m.name: {} for m in images}
    wanted = feature_networks([*images, *distances])
    inputs = {name for m in images for name in m.inputs} - {"features"}
    size = min(size, len(rows))
    for batch in batches(rows, size, inputs | {"image"}):
        features = {n: features_of(networks[n], batch, size) for n in wanted}
        if images:
            found = values_of(images, networks, batch, features)
            for name, column in found.items():
                values[name] |= zip(batch.names, column, strict=True)
        for metric in distances:
            own = np.asarray(features[metric.network])[: len(batch.names)]
            accumulators[metric.name].add(own)
        counter.add(len(batch.names))
    return values


class _Counter:
    """The number of pictures that are done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress
        self.add(0)

    def add(self, count: int) -> None:
        """Report that so many more are done."""
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


def _mean(values: Sequence[float]) -> Summary:
    """The mean with its standard error; infinite values have a mean but no error."""
    mean = sum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Summary(mean)
    return Summary(mean, float(np.std(values, ddof=1)) / math.sqrt(len(values)))
