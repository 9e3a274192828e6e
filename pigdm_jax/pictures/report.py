"""What the restorations of one picture are: pictures to write, and figures to print."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pigdm_jax.pictures.figures import deviation_map
from pigdm_jax.pictures.problems import Case, Picture, pseudoinverse
from pigdm_jax.pictures.results import Restored, mismatch_text
from pigdm_jax.samplers.records import Trace

Metric = Callable[[Picture, Picture], float]


class Output(NamedTuple):
    """A picture to write.

    Attributes:
      caption: in the figure.
      suffix: of its file's name, "" for the restored picture itself.
      picture: in [-1, 1].
    """

    caption: str
    suffix: str
    picture: Picture


class Spread(NamedTuple):
    """How far samples differ: standard deviations on a scale from 0 to 1.

    Attributes:
      typical: root mean square over the pixels.
      largest: of any pixel, which is white in the map.
    """

    typical: float
    largest: float


class Report(NamedTuple):
    """The restorations of one picture.

    Attributes:
      outputs: the restored picture or pictures, with several their mean and the map of
        their standard deviation.
      panels: the pictures of the figure, by their captions.
      scores: name, and value by metric, of the pseudoinverse and of every output that
        can be compared; empty where the original is not known.
      mismatch: of the first restoration with the measurement, in a phrase.
      spread: of several samples, else None.
      traces: of every sample.
    """

    outputs: list[Output]
    panels: dict[str, Picture]
    scores: dict[str, dict[str, float]]
    mismatch: str
    spread: Spread | None
    traces: list[Trace]


def report_on(
    case: Case, samples: Sequence[Restored], metrics: Mapping[str, Metric]
) -> Report:
    """Put together what the command writes and prints.

    Args:
      case: the picture's problem and, where it is known, its original.
      samples: one or more restorations.
      metrics: functions of (image, reference), by name.
    """
    pictures = [sample.picture for sample in samples]
    outputs, spread = [Output("restored", "", pictures[0])], None
    if len(pictures) > 1:
        outputs = [
            Output(f"restored {i}", str(i), picture)
            for i, picture in enumerate(pictures, 1)
        ]
        outputs.append(Output("mean", "mean", np.mean(pictures, axis=0)))
    alone = np.asarray(pseudoinverse(case.problem))
    scores = {}
    if case.original is not None:
        compared = {"pseudoinverse": alone} | {o.caption: o.picture for o in outputs}
        scores = {
            name: {key: float(f(x, case.original)) for key, f in metrics.items()}
            for name, x in compared.items()
        }
    if len(pictures) > 1:
        deviation = np.std(pictures, axis=0, ddof=1)
        outputs.append(Output("std", "std", deviation_map(deviation)))
        spread = _spread(deviation)
    problem = case.problem
    panels = {} if case.original is None else {"original": case.original}
    panels["measurement"] = np.asarray(problem.operator.to_picture(problem.y))
    panels["pseudoinverse"] = alone
    return Report(
        outputs,
        panels | {output.caption: output.picture for output in outputs},
        scores,
        mismatch_text(problem, float(samples[0].mismatch)),
        spread,
        [sample.trace for sample in samples],
    )


def _spread(deviation: Picture) -> Spread:
    """Over the channels the root mean square."""
    pixels = np.sqrt(np.mean(deviation**2, axis=-1)) / 2
    return Spread(float(np.sqrt(np.mean(pixels**2))), float(pixels.max()))
