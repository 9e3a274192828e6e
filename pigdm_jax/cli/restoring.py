"""`pigdm restore`: restore one picture, or a folder of them."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro
from tyro.conf import Positional

from pigdm_jax.cli.failures import INTERRUPTED
from pigdm_jax.cli.flags import (
    FolderFlags,
    RestoreFlags,
    output_folder,
    output_path,
)
from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import Hosts, device_for_each_core
from pigdm_jax.pictures.outputs import (
    INPUT,
    NAMED,
    check_outputs,
    suffixes,
    with_suffix,
)

if TYPE_CHECKING:
    import pigdm_jax.folder.plan
    import pigdm_jax.pictures.report
    import pigdm_jax.pictures.request

MOST_SAMPLES = 1000  # which are kept in memory


def restore(
    image: Positional[Path],
    flags: Annotated[RestoreFlags, tyro.conf.arg(name="")],
    folder_flags: Annotated[FolderFlags, tyro.conf.arg(name="")] = FolderFlags(),  # noqa: B008
    hosts: Annotated[Hosts, tyro.conf.arg(name="")] = Hosts(),  # noqa: B008
    samples: int = 1,
    plot: bool = False,
    cache: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Restore damaged pictures, or degrade clean ones and restore them (--simulate).

    Without --simulate the picture itself is the measurement: it is small
    (super_resolution), has parts to fill in (inpaint:MASK.png, where white is kept),
    is noisy (denoise, whose level is estimated unless --noise gives it), blurred (by a
    kernel that must be known), or compressed (jpeg, whose quality is in the file's
    header). For one picture, the restored picture and a figure are written; for a
    folder, a folder of the same names and a manifest. Run the same command again to
    continue a folder that was interrupted.

    Args:
      image: a picture file, or a folder of them.
      flags: how to restore them.
      folder_flags: for a folder.
      hosts: processes that restore a folder together.
      samples: number of restorations of each picture. Each invents plausible detail.
        With several, their mean is written too, which is blurrier and closer to
        the truth, and their standard deviation, which shows where detail is invented.
      plot: for one picture, plot residual, guidance and size of the predicted image
        over the evaluations, as IMAGE-trace.png; needs matplotlib.
      cache: folder where compiled programs are kept; none to keep nothing.
      out: the file to write, .png, .tif, .webp (all without loss) or .jpg (quality 95,
        4:4:4), or a folder for it; default IMAGE-restored.png. The figure is written
        beside it. For a folder of pictures, the output folder.
      overwrite: replace files that exist and that this command did not write; never the
        picture itself or a file that the task names.
    """
    check_readable(image)
    flags.check_names()
    if not 1 <= samples <= MOST_SAMPLES:
        raise ValueError(f"--samples must be from 1 to {MOST_SAMPLES}, got {samples}")
    if image.is_dir():
        if plot:
            raise ValueError("--plot is for one picture, not a folder")
        out = output_folder(out, image)
        device_for_each_core()
        hosts.join()
        given = {"samples": samples, "overwrite": overwrite}
        _restore_folder(image, flags, folder_flags, cache, out, given)
        return
    folder_flags.check_unused()
    if hosts != Hosts():
        raise ValueError("several processes restore a folder together, not one picture")
    out = output_path(out, image, "restored")
    drawing = _Drawing(image, samples, plot, out, overwrite)
    drawing.check()
    _restore_picture(image, flags, drawing, cache)


class _Drawing(NamedTuple):
    """How many samples to draw, and where to write them.

    Attributes:
      image: the input.
      samples: number of samples.
      plot: whether to plot their traces.
      out: the file of the restored picture.
      overwrite: whether files that exist are replaced.
    """

    image: Path
    samples: int
    plot: bool
    out: Path
    overwrite: bool

    def check(self, named: Iterable[str] = ()) -> None:
        """Refuse to write over files; before computing, and again before writing.

        Args:
          named: the files that the task names.

        Raises:
          ValueError: as `check_outputs`.
        """
        outputs = [with_suffix(self.out, suffix) for suffix in suffixes(self.samples)]
        outputs.append(self.beside("figure"))
        if self.plot:
            outputs.append(self.beside("trace"))
        inputs = dict.fromkeys(map(Path, named), NAMED) | {self.image: INPUT}
        check_outputs(outputs, inputs, overwrite=self.overwrite)

    def beside(self, suffix: str) -> Path:
        """Path of a figure beside the restored picture."""
        stem = self.out.stem.removesuffix("-restored")
        return self.out.with_name(f"{stem}-{suffix}.png")


def _restore_folder(
    folder: Path,
    flags: RestoreFlags,
    folder_flags: FolderFlags,
    cache: str | None,
    out: Path,
    given: dict[str, Any],
) -> None:
    """Restore a folder and print a summary."""
    from pigdm_jax.cli.console import PicturesBar, console, summary_lines
    from pigdm_jax.core.compilation import cache_problem, keep_compiled
    from pigdm_jax.folder.job import run

    kept = keep_compiled(cache)
    if kept is not None:
        console.print(
            f"compiled programs are kept in {kept} (--cache none to keep nothing)"
        )
    given |= {"remark": console.print}
    job = folder_flags.job(folder, out, flags.request(), **given)
    try:
        with PicturesBar() as progress:
            summary = run(dataclasses.replace(job, progress=progress))
    except KeyboardInterrupt:
        console.print("stopped; run the same command again to continue")
        # What is written is synced to disk. An exit in order would wait for the device,
        # which may be in the middle of a batch.
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    for line in summary_lines(summary, job.out):
        console.print(line)
    if problem := cache_problem():
        console.print(f"note: {problem}")
    if summary.failed:
        sys.exit(1)


def _restore_picture(
    image: Path, flags: RestoreFlags, drawing: _Drawing, cache: str | None
) -> None:
    """Restore one picture; write its pictures and print its scores."""
    from pigdm_jax.core.compilation import (
        cache_problem,
        keep_compiled,
        prefetch,
        remember,
    )

    keep_compiled(cache)
    # The same flags on a picture of the same size run the same programs.
    name = _program_name(image, flags)
    prefetch(name)

    from pigdm_jax.cli.console import console, score_table
    from pigdm_jax.pictures.figures import check_can_plot

    if drawing.plot:
        check_can_plot()
    request = flags.request()
    named = request.task.of(image.stem).files
    drawing.check(named)
    report, noise_std = _drawn(image, request, drawing)
    console.print(f"mismatch with the measurement: {report.mismatch}")
    if report.scores:
        console.print(score_table(report.scores))
    drawing.check(named)
    _write(report, drawing, noise_std)
    remember(name)
    if problem := cache_problem():
        console.print(f"note: {problem}")


def _program_name(image: Path, flags: RestoreFlags) -> str:
    from pigdm_jax.pictures.decoding import read_header

    changes = {"seed": 0, "noise": flags.noise is not None}
    return repr((read_header(image), dataclasses.asdict(flags) | changes))


def _drawn(
    image: Path, request: "pigdm_jax.pictures.request.Request", drawing: _Drawing
) -> tuple["pigdm_jax.pictures.report.Report", float]:
    """Draw the samples; return a report on them, and the measurement's noise_std."""
    import jax

    from pigdm_jax.cli.console import EvaluationsBar, console
    from pigdm_jax.cli.prior_bar import PriorBar
    from pigdm_jax.metrics import default_metrics
    from pigdm_jax.pictures.formats import check_size
    from pigdm_jax.pictures.prepared import check_samples
    from pigdm_jax.pictures.report import report_on
    from pigdm_jax.pictures.writing import remarks_on

    with PriorBar(request.prior) as progress:
        prepared = request.prepare(image, progress)
    case = prepared.case
    sampler = request.sampler_for(prepared.prior, case.problem)
    check_samples(sampler, drawing.samples)
    height, width, _ = case.problem.operator.image_shape
    check_size(drawing.out, height, width)
    console.print(
        f"{image}: {'simulating' if request.simulate else 'undoing'} {request.task}, "
        f"to {height} x {width} pixels, on {jax.devices()[0].device_kind}"
    )
    for remark in (*case.remarks, *remarks_on(drawing.out, case.kept)):
        console.print(f"note: {remark}")
    began, evaluations = time.perf_counter(), drawing.samples * sampler.evaluations
    with EvaluationsBar(evaluations) as on_step:
        results = prepared.draw(sampler, drawing.samples, on_step)
    seconds = time.perf_counter() - began
    times = "1 network evaluation" if evaluations == 1 else f"{evaluations} evaluations"
    console.print(f"{times} in {seconds:.1f} s, with loading or compiling")
    noise_std: Any = case.problem.noise_std
    return report_on(case, results, default_metrics()), float(noise_std or 0)


def _write(
    report: "pigdm_jax.pictures.report.Report", drawing: _Drawing, noise_std: float
) -> None:
    """Write the pictures of a report, its figure and, if asked for, the plot."""
    from pigdm_jax.cli.console import console
    from pigdm_jax.pictures.figures import plot_traces, side_by_side
    from pigdm_jax.pictures.writing import write_picture, write_restored

    for output in report.outputs:
        path = with_suffix(drawing.out, output.suffix)
        if output.is_restoration:
            write_restored(path, output.picture, report.kept)
        else:
            write_picture(path, output.picture)
        console.print(f"wrote {path}")
    if report.deviation is not None:
        console.print(
            f"standard deviation of the samples: {report.deviation.typical:.3f} "
            f"(pixels from 0 to 1), {report.deviation.largest:.3f} where its map is "
            "white"
        )
    figures = {drawing.beside("figure"): side_by_side(report.panels)}
    if drawing.plot:
        figures[drawing.beside("trace")] = plot_traces(report.traces, noise_std)
    for path, figure in figures.items():
        write_picture(path, figure)
        console.print(f"wrote {path}")
