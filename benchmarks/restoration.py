"""PSNR and SSIM of pseudoinverse and restoration on photos, task by task.

    python benchmarks/restoration.py --photos ../shared/data/eval/kodak

Photos are cropped to 256 x 256 in the middle and box-halved to 128 x 128. Noiseless
tasks end with `Operator.nearest`, whatever the sampler. Times are per sample, from the
second on, so without compilation.
"""

import argparse
import itertools
import json
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import pigdm_jax as pj
from pigdm_jax import samplers
from pigdm_jax.pictures.task import Task

# The text that `pigdm restore --task` takes, and the noise on [0, 1] images. {seed}
# is another one for each photo.
TASKS = {
    "4x box super-resolution": ("super_resolution:4,box", 0.0),
    "20 % freeform inpainting": ("inpaint:freeform,,{seed}", 0.0),
    "uniform 9x9 deblurring": ("uniform_blur:9,zero", 0.0),
    "uniform 9x9 deblurring, noise 0.01": ("uniform_blur:9,zero", 0.01),
    "JPEG 10": ("jpeg:10", 0.0),
    "denoising 0.1": ("denoise", 0.1),
    "2x box, then JPEG 30": ("super_resolution:2,box | jpeg:30", 0.0),
    "blur 1, then 2x box, noise 0.02": (
        "gaussian_blur:1,zero | super_resolution:2,box",
        0.02,
    ),
}


def middle(x: np.ndarray, side: int, factor: int) -> np.ndarray:
    """The square in the middle of a photo that averages to `side` pixels."""
    size = factor * side
    row, column = ((n - size) // 2 for n in x.shape[:2])
    x = x[row : row + size, column : column + size]
    return x.reshape(side, factor, side, factor, 3).mean((1, 3))


def photo(path: Path) -> np.ndarray:
    return middle(pj.read_image(path), 128, 2)


def project_all(problems: pj.Problem, images: jax.Array) -> jax.Array:
    """Project a batch onto its measurements; the operator is one for all."""
    operator = problems.operator
    return jax.vmap(operator.nearest)(images, problems.y)


def evaluate(
    prior: pj.Prior,
    task: str,
    noise: float,
    photos: list,
    samples: int,
    sampler: pj.Sampler | None,
) -> dict:
    rows, seconds = [], []
    for seed, x in enumerate(photos):
        operator = Task.parse(task.format(seed=seed)).operator(x.shape)
        noise_key, key = jax.random.split(jax.random.key(seed))
        problem = pj.measure(operator, x, noise_key, noise_std=2 * noise or None)
        images = []
        for i in range(samples):
            start = time.perf_counter()
            image = pj.restore(prior, problem, jax.random.fold_in(key, i), sampler)
            if not noise:
                image = operator.nearest(image, problem.y)
            images.append(image.block_until_ready())
            seconds.append(time.perf_counter() - start)
        image = jnp.mean(jnp.stack(images), axis=0)
        pinv = operator.pinv(problem.y, (2 * noise) ** 2)
        rows.append([f(a, x) for a in (pinv, image) for f in (pj.psnr, pj.ssim)])
    means = np.mean(np.asarray(rows, float), axis=0)
    names = ("pinv_psnr", "pinv_ssim", "psnr", "ssim")
    better = int(sum(row[2] > row[0] for row in rows))
    return {
        **dict(zip(names, means.tolist(), strict=True)),
        "photos": len(rows),
        "better": better,
        "seconds": float(np.median(seconds[1:] or seconds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 20])
    parser.add_argument("--samples", type=int, default=1, help="score their mean")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--sampler", default="ddim", help="as for `pigdm restore`, or default"
    )
    parser.add_argument("--guidance", nargs="+", default=[None], help="likewise")
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    args = parser.parse_args()

    prior = pj.load_prior(args.prior)
    paths = sorted(args.photos.glob("*.png"))[: args.limit]
    photos = [photo(path) for path in paths]
    where = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    print(f"{args.prior}, {len(photos)} photos, {where}, mean of {args.samples}")
    print("| task | guidance | steps | pinv | restored | better on | s/image |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    results = []
    if args.out and args.out.exists():
        results = json.loads(args.out.read_text())
    for steps, name, guidance in itertools.product(
        args.steps, args.tasks, args.guidance
    ):
        task, noise = TASKS[name]
        sampler = None
        if args.sampler != "default":
            sampler = samplers.parse(args.sampler, steps=steps, guidance=guidance)
        result = evaluate(prior, task, noise, photos, args.samples, sampler)
        setting = {
            "task": name,
            "text": task,
            "samples": args.samples,
            "steps": steps,
            "guidance": guidance,
            "sampler": args.sampler if sampler is None else str(sampler),
        }
        results.append({**setting, **result})
        print(
            f"| {name} | {guidance or 'default'} | {steps} "
            f"| {result['pinv_psnr']:.2f} / {result['pinv_ssim']:.3f} "
            f"| {result['psnr']:.2f} / {result['ssim']:.3f} "
            f"| {result['better']} of {result['photos']} "
            f"| {result['seconds']:.1f} |",
            flush=True,
        )
        if args.out:
            args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
