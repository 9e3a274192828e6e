"""Detail or fidelity: PSNR / SSIM of `--aim detail` and `--aim fidelity`, task by task.

    python benchmarks/aims.py --photos ../shared/data/eval/kodak --limit 6

Crops of 192 x 192 pixels from the middle of each photo. Measurements are rounded to 8
bits as a file has them, which cuts noise off at black and white.
"""

import argparse
import platform
from pathlib import Path

import jax
import numpy as np

import pigdm_jax as pj
from pigdm_jax.pictures import problems
from pigdm_jax.pictures.cases import Degradation
from pigdm_jax.pictures.levels import from_levels
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers import Fitted, Mean, Relaxed, default

TASKS = {
    "4x box super-resolution": ("super_resolution:4", None),
    "JPEG 10": ("jpeg:10", None),
    "Gaussian blur 1.6, noise 0.01": ("gaussian_blur:1.6", 0.01),
    "denoise 0.05": ("denoise", 0.05),
    "denoise 0.1": ("denoise", 0.1),
    "denoise 0.2": ("denoise", 0.2),
}
SIDE = 192


def photo(path: Path) -> np.ndarray:
    x = np.asarray(pj.read_image(path))
    row, column = ((n - SIDE) // 2 for n in x.shape[:2])
    return x[row : row + SIDE, column : column + SIDE]


def measured(x: np.ndarray, task: str, noise: float | None, seed: int) -> pj.Problem:
    """The problem of a file, which holds 8 bits of what is a picture."""
    operator = Task.parse(task).operator(x.shape)
    std = None if noise is None else 2 * noise
    problem = pj.measure(operator, x, jax.random.key(seed), noise_std=std)
    if not operator.linear:
        return problem
    pixels = np.rint((np.clip(problem.y, -1, 1) + 1) * 127.5).astype(np.uint8)
    return problems.measured(from_levels(pixels), Degradation(operator, std)).problem


def halved(sampler: pj.Sampler) -> pj.Sampler | None:
    """The mean of two samples of half as many steps; None where no steps are halved."""
    if isinstance(sampler, Fitted):
        return Mean(Fitted(sampler.steps // 2, sampler.start), 2)
    if isinstance(sampler, Relaxed):
        return Mean(Relaxed(Fitted(5, sampler.inner.start)), 2)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--prior", default="photos-64")
    args = parser.parse_args()
    prior = pj.load_prior(args.prior)
    photos = [photo(path) for path in sorted(args.photos.glob("*.png"))[: args.limit]]
    where = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    print(f"{args.prior}, {len(photos)} photos of {SIDE} x {SIDE}, {where}\n")
    print("| task | detail | fidelity | two samples of half the steps |")
    print("| --- | --- | --- | --- |")
    for name, (task, noise) in TASKS.items():
        given = [measured(x, task, noise, i) for i, x in enumerate(photos)]
        detail = default(prior, given[0], aim="detail")
        samplers = detail, default(prior, given[0], aim="fidelity"), halved(detail)
        cells = []
        for sampler in samplers:
            if sampler is None:
                cells.append("")
                continue
            scores = []
            for i, (x, problem) in enumerate(zip(photos, given, strict=True)):
                image = pj.restore(prior, problem, jax.random.key(i), sampler)
                image = np.clip(image, -1, 1)
                scores.append((float(pj.psnr(image, x)), float(pj.ssim(image, x))))
            psnr, ssim = np.mean(scores, 0)
            cells.append(f"{psnr:.2f} / {ssim:.3f} ({sampler.evaluations})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
