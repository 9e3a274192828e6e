"""What bfloat16 costs in quality: the same restorations in both precisions.

    python benchmarks/bf16.py --photos ../shared/data/eval/kodak

Photos as in `restoration.py`. "between" is the PSNR of the bfloat16 image against the
float32 one: same measurement, same key. The parameters are float32 in both, activations
bfloat16; group norms, softmax and the sampler stay in float32.
"""

import argparse
import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from restoration import TASKS, photo, project_all

import pigdm_jax as pj
from pigdm_jax import samplers
from pigdm_jax.pictures.task import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--eta", type=float, default=1.0)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()

    priors = [
        pj.load_prior(args.prior, dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16)
    ]
    paths = sorted(args.photos.glob("*.png"))[: args.limit]
    photos = jnp.stack([photo(path) for path in paths])
    where = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    print(f"{args.prior}, {len(paths)} photos, {args.steps} steps, {where}")
    print("| task | float32 | bfloat16 | change, dB | between, dB |")
    print("| --- | --- | --- | --- | --- |")
    sampler = samplers.DDIM(steps=args.steps, eta=args.eta)
    rows = []
    for name in args.tasks:
        task, noise = TASKS[name]
        operator = Task.parse(task.format(seed=0)).operator(photos.shape[1:])
        ys = jax.vmap(operator.apply)(photos)
        if noise:
            ys = ys + 2 * noise * jax.random.normal(jax.random.key(1), ys.shape)
        problems = pj.Problem(operator, ys, 2 * noise or None)
        keys = jax.random.split(jax.random.key(0), len(paths))
        images = []
        for prior in priors:
            restored = pj.restore_batch(
                prior, problems, keys, sampler, shared_operator=True
            )
            if not noise:
                restored = project_all(problems, restored)
            images.append(np.asarray(restored))

        def mean(metric, a, b):
            return float(jnp.mean(jax.vmap(metric)(a, b)))

        single, half = (
            (mean(pj.psnr, image, photos), mean(pj.ssim, image, photos))
            for image in images
        )
        row = {
            "task": name,
            "float32": single,
            "bfloat16": half,
            "between": mean(pj.psnr, *images),
        }
        rows.append(row)
        print(
            f"| {name} | {single[0]:.2f} / {single[1]:.3f} "
            f"| {half[0]:.2f} / {half[1]:.3f} "
            f"| {half[0] - single[0]:+.3f} | {row['between']:.2f} |",
            flush=True,
        )
        if args.out:
            args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
