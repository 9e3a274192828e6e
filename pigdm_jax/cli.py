"""The command `pigdm`: restore, degrade, info, convert, train."""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional

from pigdm_jax.checkpoint import SHIPPED, load_prior, read_metadata, shipped_priors
from pigdm_jax.figures import check_can_plot, plot_traces, side_by_side, spread_map
from pigdm_jax.io import read_image, write_picture
from pigdm_jax.metrics import psnr, ssim
from pigdm_jax.operators.registry import REGISTRY, usage
from pigdm_jax.photos import (
    Problem,
    check_memory,
    disagreement,
    fit_prior,
    measured,
    pseudoinverse,
    restore_picture,
    simulated,
    statistics,
)
from pigdm_jax.training.config import TrainConfig

# No markup: file names may hold brackets.
console = Console(highlight=False, soft_wrap=True, markup=False)
app = tyro.extras.SubcommandApp()


@app.command
def restore(
    image: Positional[Path],
    task: str,
    simulate: bool = False,
    noise: float | None = None,
    prior: str = "photos-64",
    label: int | None = None,
    steps: int = 100,
    eta: float = 1.0,
    weight: Literal["adaptive", "algorithm1", "vdm", "posterior"] | None = None,
    guidance: Literal["pseudoinverse", "reconstruction", "moment"] = "pseudoinverse",
    seed: int = 0,
    samples: int = 1,
    start: int | None = None,
    tile: int | None = None,
    plot: bool = False,
    out: Path | None = None,
) -> None:
    """Restore a damaged picture, or damage a clean one and restore it (--simulate).

    Without --simulate the picture is taken as it is: small (super_resolution), with
    parts to fill in (inpaint:MASK.png, white where it is to be kept), noisy (denoise
    with --noise), blurred, compressed (jpeg, as the file's header tells). It writes the
    restored picture and a figure.

    Args:
      image: the picture file.
      task: what damaged it, in order: "super_resolution:4,box | jpeg:10". `pigdm
        info` lists what there is.
      simulate: the picture is clean: damage it first, restore that and compare.
      noise: standard deviation of the noise, pixels being 0 to 1.
      prior: a shipped prior, or a folder that `pigdm convert` made.
      label: class index, for a prior with classes.
      steps: evaluations of the network; more take longer.
      eta: 0 to 1, how much of the noise is fresh in every step.
      weight: of the guidance; adaptive if not given, posterior for moment.
      guidance: the paper's pseudoinverse; reconstruction, by the transpose; or moment,
        with the network's own covariance at several times the cost.
      seed: another seed, another sample.
      samples: how many restorations to draw. Each invents plausible detail; with
        several, their mean is written too, which is blurrier and closer to the truth,
        and their standard deviation, which shows where the detail is invented.
      start: begin at this noise level (1 to 1000) from the pseudoinverse, for a
        restoration that stays closer to it.
      tile: restore in overlapping windows of this many pixels, which bounds memory
        for large pictures; priors of a fixed size do so by themselves.
      plot: draw residual, guidance and size of the predicted image over the
        evaluations, as IMAGE-trace.png; needs matplotlib.
      out: the restored picture, a .png, or a folder for it; IMAGE-restored.png if not
        given. The figure goes beside it.
    """
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, got {samples}")
    out = _output(out, image, "restored")
    base = out.stem.removesuffix("-restored")
    figure, trace = (
        out.with_name(f"{base}-{what}.png") for what in ("figure", "trace")
    )
    if plot:
        check_can_plot()
    _check_noise_flag(noise)
    picture = read_image(image)
    noise_key, key = jax.random.split(jax.random.key(seed))
    if simulate:
        problem = simulated(picture, task, noise, noise_key)
    else:
        problem = measured(picture, task, noise, file=image)
        _check_there_is_work(problem, task)
    image_shape = problem.operator.image_shape
    loaded = fit_prior(load_prior(prior, label=label), image_shape, tile)
    check_memory(loaded, image_shape)
    height, width, _ = image_shape
    console.print(
        f"{image}: {'simulating' if simulate else 'undoing'} {task}, "
        f"to {height} x {width} pixels, on {jax.devices()[0].device_kind}"
    )
    for remark in problem.remarks:
        console.print(f"note: {remark}")

    drawn, began = [], time.perf_counter()
    with _Progress(samples * steps) as on_step:
        for i in range(samples):
            drawn.append(
                restore_picture(
                    loaded,
                    problem,
                    jax.random.fold_in(key, i),
                    steps=steps,
                    eta=eta,
                    weight=weight,
                    guidance=guidance,
                    start=start,
                    on_step=on_step,
                )
            )
    seconds = time.perf_counter() - began
    console.print(f"{samples * steps} network evaluations in {seconds:.1f} s")
    console.print(f"off the measurement: {disagreement(problem, drawn[0].picture)}")
    results = {"restored": drawn[0].picture}
    maps = {}
    if samples > 1:
        results = {f"restored {i + 1}": d.picture for i, d in enumerate(drawn)}
        mean, std = statistics([d.picture for d in drawn])
        results["mean"] = mean
        maps["std"] = spread_map(std)
    if problem.original is not None:
        console.print(_scores(problem, results))

    for name, picture in (results | maps).items():
        suffix = name.removeprefix("restored").strip()
        place = out.with_stem(f"{out.stem}-{suffix}") if suffix else out
        write_picture(place, picture)
        console.print(f"wrote {place}")
    if maps:
        # Both over the channels' root mean square, pixels being 0 to 1.
        spread = np.sqrt(np.mean(std**2, axis=-1)) / 2
        console.print(
            f"samples differ by {np.sqrt(np.mean(spread**2)):.3f} (standard deviation, "
            f"pixels 0 to 1), by {spread.max():.3f} where the map is white"
        )
    write_picture(figure, side_by_side(_panels(problem, results | maps)))
    console.print(f"wrote {figure}")
    if plot:
        write_picture(trace, plot_traces([d.trace for d in drawn], problem.noise_std))
        console.print(f"wrote {trace}")


@app.command
def degrade(
    image: Positional[Path],
    task: str,
    noise: float | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Damage a clean picture, to try `pigdm restore` on the result.

    Args:
      image: the picture file.
      task: how to damage it: "super_resolution:4,box | jpeg:10".
      noise: standard deviation of noise to add, pixels being 0 to 1.
      seed: of the noise.
      out: the damaged picture, a .png, or a folder for it; IMAGE-degraded.png if not
        given.
    """
    out = _output(out, image, "degraded")
    _check_noise_flag(noise)
    key, _ = jax.random.split(jax.random.key(seed))
    problem = simulated(read_image(image), task, noise, key)
    for remark in problem.remarks:
        console.print(f"note: {remark}")
    write_picture(out, problem.operator.to_picture(problem.y))
    console.print(f"wrote {out}")


@app.command
def info() -> None:
    """List devices, priors, and operators with their parameters."""
    devices = Table("device", "kind", title="Devices", title_justify="left")
    for device in jax.devices():
        devices.add_row(str(device), device.device_kind)
    priors = Table("prior", "what it is", title="Priors", title_justify="left")
    for name in shipped_priors():
        source = read_metadata(SHIPPED / name)["source"]
        priors.add_row(name, source.get("description", ""))
    operators = Table(title="Operators", title_justify="left")
    operators.add_column("--task", overflow="fold")
    operators.add_column("what it does")
    for name, make in REGISTRY.items():
        doc = (make.__doc__ or "").split("\n")[0]
        operators.add_row(usage(name), doc)
    for table in (devices, priors, operators):
        console.print(table, soft_wrap=False)


@app.command
def convert(
    file: Positional[Path],
    out: Positional[Path],
    num_head_channels: int | None = None,
    num_heads: int | None = None,
    num_heads_upsample: int | None = None,
    new_attention_order: bool | None = None,
    attention_resolutions: str | None = None,
    image_size: int | None = None,
    schedule: Literal["linear", "cosine"] | None = None,
) -> None:
    """Convert a PyTorch checkpoint of an ADM UNet; PyTorch is not needed.

    What the tensors decide is read off them, and the public checkpoints are
    recognised; the flags say the rest for others.

    Args:
      file: a .pt, .pth or .safetensors file with a plain state dict.
      out: the folder to make, for `--prior`.
      num_head_channels: width of an attention head.
      num_heads: number of attention heads, where the width is not fixed.
      num_heads_upsample: number of heads on the way up, where it differs.
      new_attention_order: whether q, k, v are split before heads.
      attention_resolutions: image sizes that have attention, as "32,16,8".
      image_size: side of the training images.
      schedule: the noise schedule.
    """
    from pigdm_convert import Flags
    from pigdm_convert import convert as convert_file

    flags = Flags(
        num_head_channels=num_head_channels,
        num_heads=num_heads,
        num_heads_upsample=num_heads_upsample,
        new_attention_order=new_attention_order,
        attention_resolutions=attention_resolutions,
        image_size=image_size,
        schedule=schedule,
    )
    for line in convert_file(file, out, flags):
        console.print(line)


@app.command
def train(
    photos: Positional[Path],
    out: Path,
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig(),  # noqa: B008
) -> None:
    """Train a prior on your own photos; the same command goes on after a stop.

    Args:
      photos: a folder of photos, with its sub-folders, or a .zip file of them.
      out: the run's folder; its prior, for `--prior`, will be OUT/prior.
      config: the rest.
    """
    for package in ("optax", "grain", "tensorboardX"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"training needs {package}: pip install 'pigdm-jax[train]'"
            )
    from pigdm_jax.training.loop import train as run

    bar = Progress(
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("compiling", total=config.steps)

    def report(step: int, loss: float, speed: float) -> None:
        text = f"loss {loss:.4f}, {speed:.0f} crops/s"
        bar.update(task, completed=step, description=text)

    with bar:
        prior = run(photos, out, config, report)
    if prior is None:
        console.print("stopped; the same command goes on from here")
    else:
        console.print(f"wrote {prior}; restore with --prior {prior}")


def main() -> None:
    """Run the command; bad input is one sentence on stderr and exit status 1."""
    try:
        app.cli(prog="pigdm", description="Restore pictures with diffusion priors.")
    except ValueError as error:
        sys.exit(f"pigdm: {error}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit("pigdm: the picture is too large for this device's memory")
    except KeyboardInterrupt:
        sys.exit(130)


def _output(out: Path | None, image: Path, what: str) -> Path:
    """Where a picture goes, checked before any work."""
    name = f"{image.stem}-{what}.png"
    if out is None:
        out = Path(name)
    elif out.is_dir():
        out = out / name
    if out.suffix.lower() != ".png":
        raise ValueError(
            f"--out must be a folder that exists or a .png file, which keeps pixels; "
            f"got {out}"
        )
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.absolute().parent}")
    if out.exists() and image.exists() and out.samefile(image):
        raise ValueError(f"--out {out} is the input; choose another name")
    return out


def _check_noise_flag(noise: float | None) -> None:
    if noise is not None and not 0 <= noise <= 1:
        raise ValueError(
            "--noise is a standard deviation for pixels from 0 to 1 (25 of 255 is "
            f"0.098), got {noise}"
        )


def _check_there_is_work(problem: Problem, task: str) -> None:
    """The identity without noise leaves nothing to restore."""
    hides_nothing = problem.operator.tight == 1.0 and (
        problem.operator.measurement_shape == problem.operator.image_shape
    )
    if problem.noise_std == 0 and hides_nothing:
        raise ValueError(
            f"{task!r} needs the noise level of the picture, for example --noise 0.1"
        )


class _Progress:
    """A progress bar over network evaluations; as a context, the call that moves it."""

    def __init__(self, total: int) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("compiling", total=total)

    def __enter__(self) -> Callable:
        self.bar.start()
        return self.advance

    def __exit__(self, *error: object) -> None:
        jax.effects_barrier()
        self.bar.stop()

    def advance(self, step: object) -> None:
        del step
        self.bar.update(self.task, advance=1, description="restoring")


def _scores(problem: Problem, results: dict[str, np.ndarray]) -> Table:
    table = Table("", "PSNR", "SSIM")
    for name, image in {"pseudoinverse": pseudoinverse(problem), **results}.items():
        score = psnr(image, problem.original), ssim(image, problem.original)
        table.add_row(name, f"{score[0]:.2f} dB", f"{score[1]:.3f}")
    return table


def _panels(problem: Problem, results: dict[str, np.ndarray]) -> dict:
    panels = {}
    if problem.original is not None:
        panels["original"] = problem.original
    panels["measurement"] = np.asarray(problem.operator.to_picture(problem.y))
    panels["pseudoinverse"] = np.asarray(pseudoinverse(problem))
    return panels | results


if __name__ == "__main__":
    main()
