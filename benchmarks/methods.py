"""The paper's tables on what can be had here: one command each.

    python benchmarks/methods.py guidance --photos ../shared/data/eval/kodak
    python benchmarks/methods.py steps --photos DIR --prior priors/mine --side 256

guidance  pseudoinverse or transpose, adaptive or fixed weights (table 5)
steps     eta by number of steps (tables 6 and 7)
dps       DPS beside PiGDM over steps, step sizes, residuals (10 to 13, figure 17)
nfe       every sampler: quality, evaluations and time (table 8)
conjugate where its sampler begins, and lambda
spectrum  singular values of the operators (figure 5)
weights   the fixed weight over the adaptive one (figure 6)

Photos are cropped to a square in the middle, shrunk by averaging to `--side`, and
restored in one batch. Noiseless tasks end with `Operator.nearest`, whatever the
sampler.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from restoration import middle, project_all

import pigdm_jax as pj
from pigdm_jax.devices.hosts import device_for_each_core
from pigdm_jax.devices.programs import compile_batch
from pigdm_jax.guidance import Calibrated, Moment, Pseudoinverse, Reconstruction
from pigdm_jax.guidance.weights import WEIGHTS
from pigdm_jax.operators import parse
from pigdm_jax.priors.schedule import step_table
from pigdm_jax.samplers import (
    DDIM,
    DPS,
    SAMPLERS,
    Conjugate,
    Sampler,
    ddim_coefficients,
)

# The text that `pigdm restore --task` takes, and the noise on [0, 1] images.
TASKS = {
    "4x bicubic": ("super_resolution:4,bicubic", 0.0),
    "deblurring": ("uniform_blur:9", 0.0),
    "deblurring, noise 0.05": ("uniform_blur:9", 0.05),
    "inpainting": ("inpaint:freeform", 0.0),
    "4x bicubic, noise 0.05": ("super_resolution:4,bicubic", 0.05),
    "motion blur, noise 0.01": ("motion_blur:9,30", 0.01),
}
PIGDM = ("ddim", "multistep", "conjugate", "fitted")
OTHERS = ("dps", "ddrm", "ddnm", "diffpir", "red_diff", "snips", "pnp", "ccdf")


def square(path: Path, side: int) -> np.ndarray:
    x = pj.read_image(path)
    factor = min(x.shape[:2]) // side
    if not factor:
        raise SystemExit(f"{path} is smaller than {side} x {side} pixels")
    return middle(x, side, factor)


class Bench:
    """Photos, a prior, and the rows found so far."""

    def __init__(self, args: argparse.Namespace):
        self.prior = pj.load_prior(args.prior)
        paths = sorted(args.photos.glob("*.png"))[: args.limit]
        self.photos = jnp.stack([square(path, args.side) for path in paths])
        self.tasks = args.tasks
        self.mesh = pj.make_mesh()
        self.table = args.table
        self.out = args.out
        where = f"{jax.devices()[0].device_kind} ({platform.machine()})"
        print(
            f"{args.prior}, {len(paths)} photos, {args.side} x {args.side}, {where}\n"
        )

    def measure(self, task: str) -> pj.Problem:
        """All photos' measurements, with one operator."""
        text, noise = TASKS[task]
        operator = parse(text, self.photos.shape[1:])
        ys = jax.vmap(operator.apply)(self.photos)
        ys = ys + 2 * noise * jax.random.normal(jax.random.key(1), ys.shape)
        return pj.Problem(operator, ys, 2 * noise or None)

    def score(self, problems: pj.Problem, images: jax.Array) -> dict:
        if problems.noise_std is None:
            images = project_all(problems, images)
        return {
            name: float(np.mean(jax.vmap(metric)(images, self.photos)))
            for name, metric in (("psnr", pj.psnr), ("ssim", pj.ssim))
        }

    def restore(self, task: str, sampler: Sampler, /, **columns) -> dict:
        """Restore all photos; prints and keeps a row, which the columns describe."""
        problems = self.measure(task)
        count = len(problems.y)
        keys = jax.random.split(jax.random.key(0), count)
        program = compile_batch(
            self.prior,
            dataclasses.replace(problems, y=problems.y[0]),
            count,
            sampler,
            mesh=self.mesh,
            finish=lambda problem, image, trace: (image, trace.residual),
        )
        start = time.perf_counter()
        images, residuals = jax.block_until_ready(program(None, problems.y, keys))
        seconds = time.perf_counter() - start
        curve = np.mean(np.asarray(residuals), axis=0)
        row = {
            "table": self.table,
            "task": task,
            **columns,
            **self.score(problems, images),
            "finite": bool(jnp.isfinite(images).all()),
            "residual": curve[-1].item(),
            "seconds": seconds / count,
        }
        options = ", ".join(f"{k} {v}" for k, v in columns.items())
        print(
            f"| {task} | {options} | {row['psnr']:.2f} / {row['ssim']:.3f} "
            f"| {row['residual']:.4f} | {row['seconds']:.2f} |",
            flush=True,
        )
        if self.out:
            kept = json.loads(self.out.read_text()) if self.out.exists() else []
            kept.append(row | {"curve": [float(f"{v:.3g}") for v in curve]})
            lines = ",\n".join(json.dumps(row) for row in kept)
            self.out.write_text(f"[\n{lines}\n]\n")
        return row

    def heading(self) -> None:
        print("| task | options | PSNR / SSIM | last residual | s a photo |")
        print("| --- | --- | --- | --- | --- |")


def guidance(bench: Bench, counts: list[int]) -> None:
    bench.heading()
    guidances = [
        ("pseudoinverse", Pseudoinverse("adaptive")),
        ("pseudoinverse", Pseudoinverse("vdm")),
        ("reconstruction", Reconstruction("adaptive")),
        ("reconstruction", Reconstruction("vdm")),
        ("calibrated", Calibrated()),
        ("moment", Moment()),
    ]
    for task, n, (name, chosen) in itertools.product(bench.tasks, counts, guidances):
        sampler = DDIM(steps=n, guidance=chosen)
        bench.restore(task, sampler, steps=n, guidance=name, weight=chosen.weight)


def steps(bench: Bench, counts: list[int]) -> None:
    bench.heading()
    for task in bench.tasks:
        for n in counts:
            for eta in (0.0, 0.5, 1.0):
                bench.restore(task, DDIM(steps=n, eta=eta), steps=n, eta=eta)


def dps(bench: Bench, counts: list[int]) -> None:
    bench.heading()
    for task in bench.tasks:
        for n in counts:
            bench.restore(task, DDIM(steps=n), steps=n)
            for scale in (0.3, 1.0, 3.0):
                sampler = DPS(steps=n, scale=scale)
                bench.restore(task, sampler, steps=n, method="dps", scale=scale)
    if bench.out:
        plot_residuals(bench.out)


def plot_residuals(results: Path) -> None:
    """The residual of x0 at every step of the "dps" rows; a .png beside the file."""
    import matplotlib.pyplot as plt

    panels = {}
    for row in json.loads(results.read_text()):
        if row["table"] == "dps":
            panels.setdefault(f"{row['task']}, {row['steps']} steps", []).append(row)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), layout="constrained"
    )
    for axis, (title, rows) in zip(np.ravel(axes), panels.items(), strict=True):
        for row in rows:
            name = f"DPS, {row['scale']}" if row.get("method") == "dps" else "PiGDM"
            axis.semilogy(np.linspace(0, 1, row["steps"]), row["curve"], label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("part of the steps")
    axes = np.ravel(axes)
    axes[0].set_ylabel("root mean square of y - h(x0)")
    axes[0].legend(fontsize=8)
    figure.savefig(results.with_suffix(".png"), dpi=110)


def nfe(bench: Bench, counts: list[int]) -> None:
    bench.heading()
    for task in bench.tasks:
        how = {"steps": 10, "spacing": "quadratic"}
        for name in PIGDM:
            bench.restore(task, SAMPLERS[name](**how), sampler=name, **how)
    for task in bench.tasks:
        for n in counts:
            for name in PIGDM:
                sampler = SAMPLERS[name](steps=n, spacing="uniform")
                bench.restore(task, sampler, steps=n, sampler=name)
            transpose = DDIM(steps=n, guidance=Reconstruction())
            bench.restore(task, transpose, steps=n, method="reconstruction")
            for name in OTHERS:
                bench.restore(task, SAMPLERS[name](steps=n), steps=n, method=name)


def conjugate(bench: Bench, counts: list[int]) -> None:
    bench.heading()
    levels = bench.prior.schedule.num_steps
    grid = itertools.product(bench.tasks, counts, (0.2, 0.4, 0.6, 1.0), (0.0, 0.5))
    for task, n, start, lam in grid:
        how = {"steps": n, "spacing": "quadratic", "lam": lam}
        columns = {"start": round(start * levels), "sampler": "conjugate", **how}
        bench.restore(task, Conjugate(start=start, **how), **columns)


def spectrum(bench: Bench, counts: list[int]) -> None:
    """Quantiles of the singular values, relative to the largest."""
    del counts
    shape = bench.photos.shape[1:]
    quantiles = np.linspace(0, 100, 11)
    print("| operator | " + " | ".join(f"{q:.0f} %" for q in quantiles) + " | zero |")
    print("| --- " * (len(quantiles) + 2) + "|")
    for text in (
        "super_resolution:4,box",
        "super_resolution:4,bicubic",
        "uniform_blur:9",
        "uniform_blur:9,zero",
        "gaussian_blur:2",
        "inpaint:freeform",
        "grayscale",
    ):
        operator = parse(text, shape)
        found = operator.spectrum
        coefficients = jax.eval_shape(found.analyse, jnp.zeros(shape)).shape
        values = np.sort(np.broadcast_to(found.values, coefficients).ravel())[::-1]
        values = np.concatenate([values, np.zeros(np.prod(shape) - values.size)])
        relative = np.percentile(values, 100 - quantiles) / values[0]
        zero = np.mean(values <= 1e-6 * values[0])
        cells = " | ".join(f"{v:.2g}" for v in relative)
        print(f"| {text} | {cells} | {zero:.0%} |")


def weights(bench: Bench, counts: list[int]) -> None:
    """Each weight over the adaptive one, where the steps are."""
    schedule = bench.prior.schedule
    for n in counts:
        step = step_table(schedule, schedule.levels(n))
        _, c2 = ddim_coefficients(step, 1.0)
        print(f"\n{n} steps, eta 1; sigma_t = sqrt((1 - a_t) / a_t)\n")
        print("| network step | sigma_t | " + " | ".join(WEIGHTS) + " |")
        print("| --- " * (len(WEIGHTS) + 2) + "|")
        found = {}
        for name, weight in WEIGHTS.items():
            k, m = weight(step, 1.0, 1.0)
            found[name] = np.asarray(jnp.sqrt(step.a_s) * k + c2 * m)
        sigma = np.sqrt(step.b_t / step.a_t)
        for i in np.linspace(0, n - 1, 10).round().astype(int):
            cells = " | ".join(
                f"{values[i] / found['adaptive'][i]:.3f}" for values in found.values()
            )
            print(f"| {step.t[i]:.0f} | {sigma[i]:.3f} | {cells} |")


# What makes the table, its numbers of steps and its tasks.
TABLES = {
    "guidance": (
        guidance,
        [100],
        ["4x bicubic", "deblurring", "deblurring, noise 0.05"],
    ),
    "steps": (steps, [20, 50, 100], ["4x bicubic", "inpainting"]),
    "dps": (dps, [20, 100], ["4x bicubic", "inpainting"]),
    "nfe": (nfe, [20, 100], ["4x bicubic", "4x bicubic, noise 0.05"]),
    "conjugate": (conjugate, [10], ["4x bicubic"]),
    "spectrum": (spectrum, [], []),
    "weights": (weights, [20, 100], []),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--side", type=int, default=64, help="of the squares")
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--steps", type=int, nargs="+", help="in the table's place")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="likewise")
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    args = parser.parse_args()
    device_for_each_core()
    table, counts, tasks = TABLES[args.table]
    args.tasks = args.tasks or tasks
    table(Bench(args), args.steps or counts)


if __name__ == "__main__":
    main()
