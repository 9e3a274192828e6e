"""Metrics of a row: those that can be computed here, and their values in a file."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pigdm_jax.core.files import json_text, write_whole
from pigdm_jax.folder.journal import Journal
from pigdm_jax.metrics import METRICS, DistributionMetric, Summary, evaluate_folders
from pigdm_jax.metrics.networks.loading import network_files
from pigdm_jax.weights.downloads import Progress

FORMAT = 1


class Measures(NamedTuple):
    """Metrics to compute.

    Attributes:
      names: their names.
      missing: why others, which the table has, are not computed, by name.
    """

    names: tuple[str, ...]
    missing: Mapping[str, str]


class Scores(NamedTuple):
    """The values of a row.

    Attributes:
      outputs: a digest of the restorations that were evaluated.
      images: their number.
      summary: values over all images, by metric.
      per_image: values of each image, by metric and the image's name.
      remarks: what a reader of the values should know.
    """

    outputs: str
    images: int
    summary: dict[str, Summary]
    per_image: dict[str, dict[str, float]]
    remarks: tuple[str, ...] = ()


class Choice:
    """Chooses the metrics of rows; obtains the weights of each network once."""

    def __init__(self, *, has_labels: bool, progress: Progress | None = None) -> None:
        """Note what there is.

        Args:
          has_labels: whether the classes of the images are known.
          progress: of weights that are downloaded; as `load_prior` takes it.
        """
        self.has_labels, self.progress = has_labels, progress
        self.failures: dict[str, str] = {}

    def measures(self, names: Sequence[str], count: int, *, required: bool) -> Measures:
        """The metrics among those of a row that can be computed.

        Args:
          names: of the metrics.
          count: number of images.
          required: whether one that cannot be computed is an error.

        Raises:
          ValueError: if one cannot be computed and is required.
        """
        reasons = {name: self._missing(name, count) for name in names}
        missing = {name: reason for name, reason in reasons.items() if reason}
        if required and missing:
            name, reason = next(iter(missing.items()))
            raise ValueError(f"{name} cannot be computed: {reason}")
        computed = tuple(name for name in reasons if name not in missing)
        return Measures(computed, missing)

    def _missing(self, name: str, count: int) -> str:
        """Why a metric cannot be computed; "" if it can."""
        if name not in METRICS:
            return f"there is no such metric; there are {', '.join(METRICS)}"
        metric = METRICS[name]
        if "label" in getattr(metric, "inputs", ()) and not self.has_labels:
            return "it needs the class of each image, from synset folders or --labels"
        if isinstance(metric, DistributionMetric):
            try:
                metric.remark(count, count)
            except ValueError as error:
                return str(error)
        network = metric.network
        if not isinstance(network, str):
            return ""
        if network not in self.failures:
            self.failures[network] = self._obtain(network)
        return self.failures[network]

    def _obtain(self, network: str) -> str:
        """Make sure of a network's weights; why there are none, or ""."""
        try:
            network_files(network, self.progress)
        except ValueError as error:
            return str(error)
        return ""


def outputs_digest(restored: Path) -> str:
    """A digest of a row's restorations, by its journal."""
    pictures = Journal(restored).pictures
    outputs = sorted((name, line.get("outputs")) for name, line in pictures.items())
    return hashlib.sha256(json.dumps(outputs).encode()).hexdigest()


def compute_scores(
    names: Sequence[str],
    restored: Path,
    originals: Path,
    file: Path,
    *,
    labels: Mapping[str, int] | None = None,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Compute the metrics that a row's file does not have yet, and write them to it.

    Args:
      names: of the metrics.
      restored: the row's restorations.
      originals: the clean images.
      file: of the values.
      labels: the class of each image, by name.
      batch: images evaluated at once.
      progress: as `evaluate_folders` takes it.

    Raises:
      ValueError: if an image cannot be evaluated, or the file cannot be written.
    """
    outputs = outputs_digest(restored)
    known = read_scores(file)
    if known is None or known.outputs != outputs:
        known = Scores(outputs, len(Journal(restored).pictures), {}, {})
    wanted = [name for name in names if name not in known.summary]
    if not wanted:
        return known
    found = evaluate_folders(
        restored, originals, wanted, labels=labels, batch=batch, progress=progress
    )
    per_image = {name: dict(values) for name, values in found.per_image.items()}
    scores = Scores(
        outputs,
        found.count,
        {**known.summary, **found.summary},
        {**known.per_image, **per_image},
        tuple(dict.fromkeys((*known.remarks, *found.remarks))),
    )
    _write_scores(file, scores)
    return scores


def read_scores(file: Path) -> Scores | None:
    """A row's values; None if there are none.

    Raises:
      ValueError: if the file is damaged.
    """
    try:
        saved = json.loads(file.read_text(encoding="ascii"))
        if saved["format"] != FORMAT:
            raise ValueError
        return Scores(
            saved["outputs"],
            saved["images"],
            {name: Summary(*map(_number, v)) for name, v in saved["summary"].items()},
            {
                name: {key: float(x) for key, x in values.items()}
                for name, values in saved["per_image"].items()
            },
            tuple(saved["remarks"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file} is damaged; remove it") from None


def _number(value: float | str | None) -> Any:
    return None if value is None else float(value)


def _write_scores(file: Path, scores: Scores) -> None:
    saved = {
        "format": FORMAT,
        "outputs": scores.outputs,
        "images": scores.images,
        "summary": {name: list(value) for name, value in scores.summary.items()},
        "per_image": scores.per_image,
        "remarks": scores.remarks,
    }
    make_folder(file.parent)
    write_whole(file, json_text(saved).encode())


def make_folder(folder: Path) -> None:
    """Make a folder unless it is there.

    Raises:
      ValueError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}") from None
