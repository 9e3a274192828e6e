"""Reports and states as what the page shows: text, pictures, files."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped
from PIL import Image as PillowImage

from pigdm_jax.app.planning import Plan, duration
from pigdm_jax.app.running import Finished, State
from pigdm_jax.app.uploads import shown
from pigdm_jax.pictures.figures import plot_traces, side_by_side
from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.outputs import with_suffix
from pigdm_jax.pictures.report import Report
from pigdm_jax.pictures.writing import write_picture, write_restored

PREVIEW_SIDE, SLIDER_SIDE, FIGURE_SIDE = 640, 2048, 3000
# What the page calls the pictures of a report.
CAPTIONS = {
    "original": "the original",
    "measurement": "the photo",
    "pseudoinverse": "the simplest guess",
    "restored": "restored",
    "mean": "mean of the samples",
    "std": "where the prior invents",
}
FORMATS = {"psnr": "{:.2f} dB"}


class Display(NamedTuple):
    """What the page shows of a restoration.

    Attributes:
      pair: before and after, of one size.
      summary: scores and remarks, as HTML.
      figure: the pictures side by side.
      samples: pictures and their captions; empty for one sample.
      curves: of the residual and others.
      result: the file to download.
      files: all files.
    """

    pair: tuple[PillowImage.Image, PillowImage.Image]
    summary: str
    figure: PillowImage.Image
    samples: list[tuple[PillowImage.Image, str]]
    curves: PillowImage.Image
    result: Path
    files: list[Path]


def show_finished(finished: Finished, photo: Path, folder: Path) -> Display:
    """Write the files of a restoration, and collect what the page shows.

    Args:
      finished: the restoration.
      photo: its photo, whose name the files have.
      folder: for the files.
    """
    report, (case, _, _) = finished.report, finished.prepared
    out = folder / f"{photo.stem}-restored.png"
    files = []
    for output in report.outputs:
        path = with_suffix(out, output.suffix)
        if output.is_restoration:
            write_restored(path, output.picture, report.kept)
        else:
            write_picture(path, output.picture)
        files.append(path)
    figure = side_by_side({caption_of(k): v for k, v in report.panels.items()})
    files.append(folder / f"{photo.stem}-figure.png")
    write_picture(files[-1], figure)
    noise_std = case.problem.noise_std
    curves = plot_traces(report.traces, float(noise_std or 0))
    return Display(
        _pair(report, photo),
        summary_of(finished),
        _within(figure, FIGURE_SIDE),
        _samples(report),
        curves,
        files[0],
        files,
    )


def summary_of(finished: Finished) -> str:
    """Scores and remarks, as HTML."""
    report, (case, _, _) = finished.report, finished.prepared
    sampler, seconds = finished.sampler, finished.seconds
    evaluations = len(report.traces) * sampler.evaluations
    times = "once" if evaluations == 1 else f"{evaluations} times"
    device = jax.devices()[0].device_kind
    lines = [
        f"The network was evaluated {times} in {duration(seconds)} on {device}, with "
        f"loading or compiling; sampler {sampler}.",
        f"Mismatch with the photo: {report.mismatch}.",
    ]
    if report.deviation is not None:
        lines.append(
            f"Standard deviation of the samples: {report.deviation.typical:.3f} "
            f"(pixels from 0 to 1), {report.deviation.largest:.3f} where its map is "
            "white."
        )
    lines += [f"Note: {remark}." for remark in case.remarks]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"{score_table(report.scores)}<ul class='pigdm-notes'>{items}</ul>"


def score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Scores as an HTML table; "" if there are none."""
    if not scores:
        return ""
    metrics = list(next(iter(scores.values())))
    head = "".join(f"<th scope='col'>{html.escape(m.upper())}</th>" for m in metrics)
    rows = ""
    for name, row in scores.items():
        cells = (FORMATS.get(m, "{:.3f}").format(row[m]) for m in metrics)
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        rows += (
            f"<tr><th scope='row'>{html.escape(caption_of(name))}</th>{numbers}</tr>"
        )
    return (
        "<table class='pigdm-scores'><caption>Compared with the original (higher is "
        f"better)</caption><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def caption_of(caption: str) -> str:
    """What the page calls a picture of a report."""
    name, _, number = caption.partition(" ")
    return f"{CAPTIONS.get(name, name)} {number}".strip()


def progress_of(state: State) -> str:
    """A state as HTML: a bar, what is being done, the prediction so far."""
    parts = [state.phase]
    if state.total:
        parts.append(f"evaluation {state.done} of {state.total}")
    if state.remaining is not None:
        parts.append(f"about {duration(state.remaining)} left")
    elif state.seconds >= 1:
        parts.append(f"{duration(state.seconds)} so far")
    text = html.escape(", ".join(parts))
    value = f"value='{state.done}' max='{state.total}'" if state.done else ""
    bar = f"<progress {value} aria-label='Progress'></progress>"
    picture = ""
    if state.preview is not None:
        picture = (
            f"<figure><img src='{data_address(state.preview)}' alt='The prediction of "
            f"the restored photo after evaluation {state.done}'><figcaption>What the "
            "network predicts so far</figcaption></figure>"
        )
    return f"<div class='pigdm-progress'><p>{text}</p>{bar}{picture}</div>"


def alert(sentence: str) -> str:
    """A failure as HTML, which screen readers read at once."""
    sentence = sentence[:1].upper() + sentence[1:]
    return f"<p class='pigdm-alert' role='alert'>{html.escape(sentence)}</p>"


def plan_text(plan: Plan) -> str:
    """A plan as HTML."""
    remarks = [f"Note: {remark}." for remark in plan.remarks]
    return "".join(note(text) for text in (plan.sentence(), *remarks))


def note(sentence: str) -> str:
    """A sentence as HTML."""
    return f"<p class='pigdm-note'>{html.escape(sentence)}</p>" if sentence else ""


def data_address(image: Shaped[np.ndarray, "H W C"]) -> str:
    """A small picture as a data: address, which needs no file."""
    picture = _visible(np.nan_to_num(np.asarray(image, np.float32)))
    picture = _within(picture, PREVIEW_SIDE)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _pair(report: Report, photo: Path) -> tuple[PillowImage.Image, PillowImage.Image]:
    """Before and after, of one size: the photo, or what was simulated, restored."""
    after = _within(_visible(report.outputs[0].picture), SLIDER_SIDE)
    if "original" in report.panels:
        before = _visible(report.panels["measurement"])
    else:
        before = shown(photo, SLIDER_SIDE)
    if before.size != after.size:
        whole = after.width % before.width == 0
        way = PillowImage.Resampling.NEAREST if whole else None
        before = before.resize(after.size, way)
    return before, after


def _samples(report: Report) -> list[tuple[PillowImage.Image, str]]:
    if len(report.outputs) == 1:
        return []
    return [
        (_within(_visible(output.picture), SLIDER_SIDE), caption_of(output.caption))
        for output in report.outputs
    ]


def _visible(image: Shaped[np.ndarray, "H W C"]) -> PillowImage.Image:
    return to_picture(np.asarray(image)).convert("RGB")


def _within(picture: PillowImage.Image, side: int) -> PillowImage.Image:
    if max(picture.size) <= side:
        return picture
    picture = picture.copy()
    picture.thumbnail((side, side), PillowImage.Resampling.BICUBIC)
    return picture
