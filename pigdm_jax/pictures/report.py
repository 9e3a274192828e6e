"""A report on the restorations of one picture: pictures to write, scores to print."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pigdm_jax.pictures.cases import Case
from pigdm_jax.pictures.figures import deviation_map
from pigdm_jax.pictures.kept import Kept, Picture
from pigdm_jax.pictures.problems import pseudoinverse
from pigdm_jax.pictures.results import Restored, mismatch_text
from pigdm_jax.samplers.records import Trace

Metric = Callable[[Picture, Picture], float]


class Output(NamedTuple):
    """A picture to write.

    Attributes:
      caption: its caption in the figure.
      suffix: suffix of its file name; "" for the restored picture itself.
      picture: the image in [-1, 1].
      is_restoration: whether it is of the picture's kind, and not a map.
    """

    caption: str
    suffix: str
    picture: Picture
    is_restoration: bool = True


class Deviation(NamedTuple):
    """Standard deviation of the samples, for pixels from 0 to 1.

    Attributes:
      typical: root mean square over all pixels.
      largest: the largest of any pixel, which is white in the map.
    """

    typical: float
    largest: float


class Report(NamedTuple):
    """The restorations of one picture.

    Attributes:
      outputs: the restored pictures; if there are several, also their mean and a map of
        their standard deviation.
      panels: the pictures of the figure, by their captions.
      scores: values by metric, for the pseudoinverse and for every output that can be
        compared, by their captions; empty if the original is unknown.
      mismatch: mismatch of the first restoration with the measurement, as text.
      deviation: standard deviation of several samples; None for one sample.
      traces: the trace of every sample.
      kept: what the files of restorations have of the picture's.
    """

    outputs: list[Output]
    panels: dict[str, Picture]
    scores: dict[str, dict[str, float]]
    mismatch: str
    deviation: Deviation | None
    traces: list[Trace]
    kept: Kept


def report_on(
    case: Case, samples: Sequence[Restored], metrics: Mapping[str, Metric]
) -> Report:
    """Collect the pictures and scores that the command writes and prints.

    Args:
      case: the picture's problem and, if known, its original.
      samples: one or more restorations.
      metrics: functions of (image, reference), by name.
    """
    pictures = [sample.picture for sample in samples]
    alone = np.asarray(pseudoinverse(case.problem))
    outputs, deviation = outputs_of(pictures)
    compared = {"pseudoinverse": alone} | {
        output.caption: output.picture for output in outputs if output.is_restoration
    }
    problem = case.problem
    panels = {} if case.original is None else {"original": case.original}
    panels["measurement"] = np.asarray(problem.operator.to_picture(problem.y))
    panels["pseudoinverse"] = alone
    return Report(
        outputs,
        panels | {output.caption: output.picture for output in outputs},
        scores_of(compared, case.original, metrics),
        mismatch_text(problem, float(samples[0].mismatch)),
        deviation,
        [sample.trace for sample in samples],
        case.kept,
    )


def outputs_of(pictures: Sequence[Picture]) -> tuple[list[Output], Deviation | None]:
    """The pictures to write: the samples; of several also mean and deviation.

    The suffixes of their files are those of `pictures.outputs.suffixes`.
    """
    if len(pictures) == 1:
        return [Output("restored", "", pictures[0])], None
    outputs = [
        Output(f"restored {i}", str(i), picture)
        for i, picture in enumerate(pictures, 1)
    ]
    std = np.std(pictures, axis=0, ddof=1)
    outputs.append(Output("mean", "mean", np.mean(pictures, axis=0)))
    outputs.append(Output("std", "std", deviation_map(std), False))
    return outputs, _deviation(std)


def scores_of(
    pictures: Mapping[str, Picture],
    original: Picture | None,
    metrics: Mapping[str, Metric],
) -> dict[str, dict[str, float]]:
    """Values by metric for each picture; empty if the original is unknown."""
    if original is None:
        return {}
    return {
        name: {key: float(metric(x, original)) for key, metric in metrics.items()}
        for name, x in pictures.items()
    }


def _deviation(std: Picture) -> Deviation:
    """Channels are combined by their root mean square."""
    pixels = np.sqrt(np.mean(std**2, axis=-1)) / 2
    return Deviation(float(np.sqrt(np.mean(pixels**2))), float(pixels.max()))
