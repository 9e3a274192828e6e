"""Histograms and curves as SVG, for a page that needs nothing else."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from pigdm_jax.metrics.base import Summary

WIDTH, HEIGHT = 440, 210
# Free space on each side, for labels.
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40
BINS = 40
# Distinguishable for people who confuse red and green, on white and on black.
COLOURS = ("#3b7dd8", "#d1791b", "#2a9d78", "#b8527f", "#8a6fd1", "#8c8c2e")


class Axis(NamedTuple):
    """A scale from values to pixels.

    Attributes:
      low, high: the values at its ends.
      start, end: the pixels there.
      logarithmic: whether equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        part = (value - low) / (high - low)
        return round(self.start + part * (self.end - self.start), 2)


def histogram(values: Sequence[float], label: str) -> str:
    """The distribution of values, with a line at their mean.

    Infinite values are left out and counted in the label.

    Args:
      values: the values.
      label: of the horizontal axis, with the unit.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        label += f"; {len(values) - len(finite)} of {len(values)} are infinite"
    if not finite:
        return f"<p>{escape(label)}</p>"
    edges = np.histogram_bin_edges(finite, "auto")
    if len(edges) > BINS:
        edges = np.histogram_bin_edges(finite, BINS)
    counts = np.histogram(finite, edges)[0].tolist()
    edges = edges.tolist()
    x = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Axis(0, max(counts), HEIGHT - BOTTOM, TOP)
    bars = [
        f'<rect x="{x(low)}" y="{y(n)}" width="{max(x(high) - x(low) - 1, 0.5):.2f}" '
        f'height="{y(0) - y(n):.2f}" fill="{COLOURS[0]}"><title>{n} from {low:.4g} '
        f"to {high:.4g}</title></rect>"
        for n, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
    mean = x(float(np.mean(finite)))
    line = (
        f'<line x1="{mean}" x2="{mean}" y1="{TOP}" y2="{y(0)}" class="mean">'
        f"<title>mean {np.mean(finite):.4g}</title></line>"
    )
    axes = _axes(x, y, label, "pictures", whole=True)
    return _svg([*bars, line, *axes], f"histogram: {label}")


def curves(
    series: Mapping[str, Mapping[float, Summary]], across: str, label: str
) -> str:
    """Values of a metric as curves, with bars of one standard error.

    Args:
      series: of each curve, by its name: values by what is on the horizontal axis, such
        as the number of evaluations of the network, which is positive.
      across: label of the horizontal axis.
      label: of the vertical axis.
    """
    points = [(p, s) for curve in series.values() for p, s in curve.items()]
    ends = [s.value + sign * (s.error or 0) for _, s in points for sign in (1, -1)]
    ends = [end for end in ends if math.isfinite(end)]
    if not ends:
        return f"<p>{escape(label)}</p>"
    places = sorted({place for place, _ in points})
    wide = places[-1] > 4 * places[0]
    x = Axis(*_apart(places[0], places[-1]), LEFT, WIDTH - RIGHT, wide)
    y = Axis(*_apart(min(ends), max(ends)), HEIGHT - BOTTOM, TOP)
    marks = [
        mark
        for colour, (name, curve) in zip(
            _repeated(len(series)), series.items(), strict=True
        )
        for mark in _curve(name, curve, x, y, colour)
    ]
    axes = _axes(x, y, across, label, ticks=places if len(places) < 9 else None)
    drawing = _svg([*marks, *axes], f"{label} by {across}")
    legend = "".join(
        f'<li><span style="background:{colour}"></span>{escape(name)}</li>'
        for colour, name in zip(_repeated(len(series)), series, strict=True)
    )
    return f'{drawing}<ul class="legend">{legend}</ul>'


def _curve(
    name: str, curve: Mapping[float, Summary], x: Axis, y: Axis, colour: str
) -> list[str]:
    """The line, the points and the bars of one curve."""
    known = {p: curve[p] for p in sorted(curve) if math.isfinite(curve[p].value)}
    line = " ".join(f"{x(place)},{y(value)}" for place, (value, _) in known.items())
    marks = [f'<polyline points="{line}" fill="none" stroke="{colour}"/>']
    for place, (value, error) in known.items():
        if error:
            marks.append(
                f'<line x1="{x(place)}" x2="{x(place)}" y1="{y(value - error)}" '
                f'y2="{y(value + error)}" stroke="{colour}"/>'
            )
        marks.append(
            f'<circle cx="{x(place)}" cy="{y(value)}" r="3" fill="{colour}"><title>'
            f"{escape(name)}: {value:.4g} at {place:g}</title></circle>"
        )
    return marks


def _repeated(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _apart(low: float, high: float) -> tuple[float, float]:
    """Two ends that differ."""
    if high > low:
        return low, high
    margin = abs(low) / 100 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers between two, about five.

    Examples:
      >>> ticks(0.15, 1.1)
      [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.7)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _axes(
    x: Axis,
    y: Axis,
    across: str,
    up: str,
    *,
    whole: bool = False,
    ticks: Sequence[float] | None = None,
) -> list[str]:
    """Both axes with their ticks and labels."""
    marks = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.start}" y2="{y.start}" '
        'class="axis"/>'
    ]
    for value in _ticks_of(x) if ticks is None else ticks:
        marks.append(_text(f"{value:g}", x(value), y.start + 15, "middle"))
    for value in _ticks_of(y, whole):
        marks.append(_text(f"{value:g}", LEFT - 5, y(value) + 4, "end"))
    middle = (HEIGHT - BOTTOM + TOP) / 2
    marks.append(_text(across, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle"))
    turned = f' transform="rotate(-90 11 {middle})"'
    return [*marks, _text(up, 11, middle, "middle", turned)]


def _ticks_of(axis: Axis, whole: bool = False) -> list[float]:
    return ticks(axis.low, axis.high, whole)


def _text(text: str, x: float, y: float, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(marks: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(marks)}</svg>'
    )
