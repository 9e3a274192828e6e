"""The command `pigdm`: restore, compile, degrade, info, bench, convert, train."""

import dataclasses
import importlib.metadata
import importlib.util
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from rich.table import Table
from tyro.conf import Positional

from pigdm_jax import guidance, samplers
from pigdm_jax.cli.console import (
    EvaluationsBar,
    PicturesBar,
    TrainingBar,
    console,
    score_table,
    summary_lines,
)
from pigdm_jax.cli.timing import matrix_ceiling, measure
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.core.types import PRNGKey
from pigdm_jax.devices.hosts import Hosts, device_for_each_core
from pigdm_jax.devices.memory import check_memory
from pigdm_jax.folder.job import Job, compile_group, list_checked
from pigdm_jax.folder.job import run as run_folder
from pigdm_jax.pictures.figures import (
    check_can_plot,
    plot_traces,
    side_by_side,
    spread_map,
)
from pigdm_jax.pictures.files import digest, read_image, write_picture
from pigdm_jax.pictures.photos import (
    Case,
    disagreement,
    pseudoinverse,
    restore_picture,
    statistics,
)
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import STAGES, Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior
from pigdm_jax.samplers import Sampler
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.weights.store import SHIPPED, load_prior, read_metadata, shipped_priors

app = tyro.extras.SubcommandApp()


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags that decide every pixel of a restoration, for one picture or many.

    Attributes:
      task: what damaged it, in order: "super_resolution:4,box | jpeg:10". `pigdm info`
        lists what there is. "{stem}" stands for the picture's own name:
        "inpaint:masks/{stem}.png". Quote a file name that holds a comma or a bar.
      simulate: the picture is clean: damage it first, restore that and compare.
      noise: standard deviation of the noise, pixels being 0 to 1; the same as ending
        the task with "| denoise:NOISE".
      prior: a shipped prior, or a folder that `pigdm convert` or `pigdm train` made.
      label: class index, for a prior with classes.
      sampler: how to sample, as NAME or NAME:KEY=VALUE,...: "ddim:eta=0.5". If not
        given, one for few evaluations: fitted, or ddnm for denoising. The paper's
        algorithm is ddim with its 100 steps. `pigdm info` lists them.
      steps: evaluations of the network; more take longer. The sampler's own if not
        given, 10 for fitted.
      guidance: of a sampler that has one (fitted, if none is named): the paper's
        pseudoinverse; reconstruction, by the transpose; calibrated, as strong as the
        network's own covariance tells; or moment, with all of that covariance at
        several times the cost, written likewise: "moment:products=5".
      tile: restore in overlapping windows of this many pixels, which bounds memory for
        large pictures; priors of a fixed size do so by themselves.
      seed: another seed, another sample. Every picture has a key of its own, from the
        seed and its file's content.
    """

    task: str
    simulate: bool = False
    noise: float | None = None
    prior: str = "photos-64"
    label: int | None = None
    sampler: str | None = None
    steps: int | None = None
    guidance: str | None = None
    tile: int | None = None
    seed: int = 0

    def request(self) -> Request:
        """What they ask for.

        Raises:
          ValueError: if one of them makes no sense.
        """
        return Request(
            Task.parse(self.task).with_noise(self.noise),
            self.simulate,
            self._sampler(),
            self.steps,
            self.prior,
            self.label,
            self.tile,
            self.seed,
        )

    def _sampler(self) -> Sampler | None:
        if self.sampler is None and self.guidance is None:
            return None
        name = "fitted" if self.sampler is None else self.sampler
        return samplers.parse(name, steps=self.steps, guidance=self.guidance)


@app.command
def restore(
    image: Positional[Path],
    flags: Annotated[Flags, tyro.conf.arg(name="")],
    hosts: Annotated[Hosts, tyro.conf.arg(name="")] = Hosts(),  # noqa: B008
    samples: int = 1,
    plot: bool = False,
    batch: int | Literal["auto"] = "auto",
    pad: int = 1,
    cache: str | None = None,
    out: Path | None = None,
) -> None:
    """Restore damaged pictures, or damage clean ones and restore them (--simulate).

    Without --simulate a picture is taken as it is: small (super_resolution), with parts
    to fill in (inpaint:MASK.png, white where it is to be kept), noisy (denoise with
    --noise), blurred, compressed (jpeg, as the file's header tells). For a picture it
    writes the restored one and a figure. For a folder it writes a folder of the same
    names and a manifest; the same command goes on where it was stopped.

    Args:
      image: the picture file, or a folder of them.
      flags: what to do.
      hosts: who shares a folder.
      samples: how many restorations to draw of a picture. Each invents plausible
        detail; with several, their mean is written too, which is blurrier and closer to
        the truth, and their standard deviation, which shows where the detail is
        invented.
      plot: for a picture, draw residual, guidance and size of the predicted image over
        the evaluations, as IMAGE-trace.png; needs matplotlib.
      batch: for a folder, pictures to restore at once; auto is as many as fit.
      pad: for a folder, bring sides up to multiples of this, so that fewer sizes have
        to be compiled.
      cache: where compiled programs are kept; none for nowhere.
      out: the restored picture, a .png, or a folder for it; IMAGE-restored.png if not
        given. The figure goes beside it.
    """
    request = flags.request()
    if image.is_dir():
        device_for_each_core()
    hosts.join()
    kept = keep_compiled(cache)
    if image.is_dir():
        if samples != 1 or plot:
            raise ValueError("--samples and --plot are for one picture, not a folder")
        if kept is not None:
            console.print(
                f"compiled programs are kept in {kept} (--cache none: nowhere)"
            )
        _restore_folder(_job(image, request, batch, pad, out))
        return
    if jax.process_count() > 1:
        raise ValueError("several processes share a folder, not one picture")
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, got {samples}")
    _restore_file(image, request, samples, plot, _output(out, image, "restored"))


@app.command(name="compile")
def compile_ahead(
    image: Positional[Path],
    flags: Annotated[Flags, tyro.conf.arg(name="")],
    batch: int | Literal["auto"] = "auto",
    pad: int = 1,
    cache: str | None = None,
) -> None:
    """Compile ahead what `pigdm restore` with the same words will run.

    Args:
      image: the picture file, or a folder of them.
      flags: what to do.
      batch: for a folder, pictures to restore at once; auto is as many as fit.
      pad: for a folder, bring sides up to multiples of this.
      cache: where compiled programs are kept.
    """
    request = flags.request()
    folder = keep_compiled(cache)
    if folder is None:
        raise ValueError("--cache none keeps nothing; leave it out")
    began = time.perf_counter()
    if image.is_dir():
        device_for_each_core()
        job = _job(image, request, batch, pad, None)
        for shape, entries in list_checked(job).groups.items():
            compile_group(job, shape, entries)
    else:
        case, loaded, key = _case(image, request)
        sampler = request.sampler_for(loaded, case.problem)
        if isinstance(sampler, samplers.Spaced):
            # One step is the whole program, whatever the number of steps.
            sampler = dataclasses.replace(sampler, steps=1)
        restore_picture(loaded, case.problem, key, sampler, lambda step, info: None)
    console.print(f"ready in {time.perf_counter() - began:.1f} s, kept in {folder}")


def _job(
    folder: Path,
    request: Request,
    batch: int | Literal["auto"],
    pad: int,
    out: Path | None,
) -> Job:
    return Job(
        request,
        load_prior(request.prior, label=request.label),
        folder,
        Path(f"{folder.resolve().name}-restored") if out is None else out,
        None if batch == "auto" else batch,
        pad,
        console.print,
    )


def _restore_folder(job: Job) -> None:
    """Restore a folder and tell what came of it."""
    try:
        with PicturesBar() as report:
            done = run_folder(dataclasses.replace(job, report=report))
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        raise
    for line in summary_lines(done, job.out):
        console.print(line)
    if done.failed:
        sys.exit(1)


def _case(image: Path, request: Request) -> tuple[Case, Prior, PRNGKey]:
    """A picture's case, the prior that fits it, and the sampler's key."""
    picture = read_image(image)
    noise_key, key = request.keys(digest(image))
    damage = request.damage(picture.shape[:2], image)
    image_shape = damage.operator.image_shape
    prior = load_prior(request.prior, label=request.label)
    prior = fit_prior(prior, image_shape, request.tile)
    check_memory(prior, image_shape)
    return request.case(picture, damage, noise_key, image), prior, key


def _restore_file(
    image: Path, request: Request, samples: int, plot: bool, out: Path
) -> None:
    """Restore one picture and write what came of it."""
    base = out.stem.removesuffix("-restored")
    figure, trace = (
        out.with_name(f"{base}-{what}.png") for what in ("figure", "trace")
    )
    if plot:
        check_can_plot()
    case, prior, key = _case(image, request)
    problem = case.problem
    sampler = request.sampler_for(prior, problem)
    height, width, _ = problem.operator.image_shape
    console.print(
        f"{image}: {'simulating' if request.simulate else 'undoing'} {request.task}, "
        f"to {height} x {width} pixels, on {jax.devices()[0].device_kind}"
    )
    for remark in case.remarks:
        console.print(f"note: {remark}")

    drawn, began = [], time.perf_counter()
    evaluations = samples * sampler.evaluations
    with EvaluationsBar(evaluations) as on_step:
        for i in range(samples):
            own = jax.random.fold_in(key, i)
            drawn.append(restore_picture(prior, problem, own, sampler, on_step))
    seconds = time.perf_counter() - began
    console.print(f"{evaluations} network evaluations in {seconds:.1f} s")
    off = disagreement(problem, float(drawn[0].off))
    console.print(f"off the measurement: {off}")
    results = {"restored": drawn[0].picture}
    maps = {}
    if samples > 1:
        results = {f"restored {i + 1}": d.picture for i, d in enumerate(drawn)}
        mean, std = statistics([d.picture for d in drawn])
        results["mean"] = mean
        maps["std"] = spread_map(std)
    if case.original is not None:
        console.print(score_table(case, results))

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
    write_picture(figure, side_by_side(_panels(case, results | maps)))
    console.print(f"wrote {figure}")
    if plot:
        write_picture(
            trace, plot_traces([d.trace for d in drawn], problem.noise_std or 0.0)
        )
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
    request = Request(Task.parse(task).with_noise(noise), simulate=True, seed=seed)
    picture = read_image(image)
    damage = request.damage(picture.shape[:2], image)
    key, _ = request.keys(digest(image))
    case = request.case(picture, damage, key, image)
    for remark in case.remarks:
        console.print(f"note: {remark}")
    write_picture(out, case.problem.operator.to_picture(case.problem.y))
    console.print(f"wrote {out}")


@app.command
def info() -> None:
    """List devices, priors, samplers, guidances and operators."""
    devices = Table("device", "kind", title="Devices", title_justify="left")
    for device in jax.devices():
        devices.add_row(str(device), device.device_kind)
    priors = Table("prior", "what it is", title="Priors", title_justify="left")
    for name in shipped_priors():
        source = read_metadata(SHIPPED / name)["source"]
        priors.add_row(name, source.get("description", ""))
    tables = [devices, priors]
    for flag, registry in (
        ("--sampler", samplers.SAMPLERS),
        ("--guidance", guidance.GUIDANCES),
    ):
        title = f"{flag.removeprefix('--').title()}s"
        table = Table(
            flag, "parameters", "what it is", title=title, title_justify="left"
        )
        for name, cls in registry.items():
            fields = ", ".join(field.name for field in dataclasses.fields(cls))
            table.add_row(name, fields, (cls.__doc__ or "").split("\n")[0])
        tables.append(table)
    operators = Table(title="Operators", title_justify="left")
    operators.add_column("--task", overflow="fold")
    operators.add_column("what it does")
    for named in STAGES.values():
        operators.add_row(named.usage(), named.summary)
    tables.append(operators)
    for table in tables:
        console.print(table, soft_wrap=False)
    console.print(f"Compiled programs are kept in {keep_compiled(None)}")


@app.command
def bench(
    prior: str = "photos-64",
    size: int = 128,
    batch: int = 1,
    steps: int = 5,
    rounds: int = 3,
) -> None:
    """Time 4x super-resolution of random pictures on this machine.

    Args:
      prior: a shipped prior's name, or a folder that `pigdm convert` made.
      size: side of the pictures.
      batch: pictures at once; on CPUs several are spread over the cores.
      steps: evaluations of the network in each round.
      rounds: how often, after one to warm up; the time is their median.
    """
    for name, value in (("batch", batch), ("steps", steps), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if size < 4 or size % 4:
        raise ValueError(f"--size must be a multiple of 4, got {size}")
    if batch > 1:
        device_for_each_core()
    loaded = load_prior(prior)
    check_memory(loaded, (size, size, 3))
    with console.status("compiling and timing"):
        speed = measure(loaded, size, batch, steps, rounds)
        ceiling = matrix_ceiling()
    each = speed.step_seconds / batch
    rate = speed.flops / speed.step_seconds
    devices = jax.local_devices()
    for line in (
        f"{devices[0].device_kind}, {len(devices)} "
        f"device{'s' * (len(devices) > 1)}, {prior}, {batch} x {size} x {size} pixels",
        f"{speed.compile_seconds:.1f} s to compile",
        f"{each * 1e3:.1f} ms an evaluation and picture: {20 * each:.1f} s for 20, "
        f"{100 * each:.1f} s for 100",
        f"{rate / 1e9:.0f} GFLOP/s, {rate / ceiling:.0%} of a matrix product's "
        f"{ceiling / 1e9:.0f}, both in float32",
        f"{speed.device_bytes / 1e9:.2f} GB on each device",
    ):
        console.print(line)


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
    from pigdm_jax.networks import Flags
    from pigdm_jax.weights.conversion import convert as convert_file

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
    hosts: Annotated[Hosts, tyro.conf.arg(name="")] = Hosts(),  # noqa: B008
) -> None:
    """Train a prior on your own photos; the same command goes on after a stop.

    Args:
      photos: a folder of photos, with its sub-folders, or a .zip file of them.
      out: the run's folder; its prior, for `--prior`, will be OUT/prior.
      config: the rest.
      hosts: who shares the work.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError("training needs tensorboardX: pip install 'pigdm-jax[train]'")
    from pigdm_jax.training.loop import train as run

    hosts.join()
    with TrainingBar(config.steps) as report:
        prior = run(photos, out, config, report)
    if prior is None:
        console.print("stopped; the same command goes on from here")
    else:
        console.print(f"wrote {prior}; restore with --prior {prior}")


def main() -> None:
    """Run the command; bad input is one sentence on stderr and exit status 1."""
    if sys.argv[1:] == ["--version"]:
        console.print(f"pigdm {importlib.metadata.version('pigdm-jax')}")
        return
    try:
        app.cli(
            prog="pigdm",
            description="Restore pictures with diffusion priors. `pigdm --version` "
            "prints the version.",
        )
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


def _panels(case: Case, results: dict[str, np.ndarray]) -> dict:
    panels, problem = {}, case.problem
    if case.original is not None:
        panels["original"] = case.original
    panels["measurement"] = np.asarray(problem.operator.to_picture(problem.y))
    panels["pseudoinverse"] = np.asarray(pseudoinverse(problem))
    return panels | results


if __name__ == "__main__":
    main()
