"""What bfloat16 costs in quality: the same restorations in both precisions.

    python benchmarks/bf16.py --photos ../shared/data/eval/kodak

Photos as in `restoration.py`. "between" is the PSNR of the bfloat16 image against the
float32 one: same measurement, same key. The parameters are float32 in both, activations
bfloat16; group norms, softmax and the sampler stay in float32.
"""

import argparse
import json
import platform
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from restoration import TASKS, photo

import pigdm_jax as pj
from pigdm_jax.operators import parse


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
    rows = []
    for name in args.tasks:
        task, noise = TASKS[name]
        operator = parse(task.format(seed=0), photos.shape[1:])
        ys = jax.vmap(operator.apply)(photos)
        if noise:
            ys = ys + 2 * noise * jax.random.normal(jax.random.key(1), ys.shape)
        keys = jax.random.split(jax.random.key(0), len(paths))
        images = []
        for prior in priors:
            made = pj.restore_batch(
                prior,
                operator,
                ys,
                keys,
                steps=args.steps,
                eta=args.eta,
                noise_std=2 * noise,
            )
            if not noise:
                made = jax.vmap(partial(pj.project, operator))(ys, made)
            images.append(np.asarray(made))

        def mean(metric, a, b):
            return float(jnp.mean(jax.vmap(metric)(a, b)))

        single, half = (
            (mean(pj.psnr, made, photos), mean(pj.ssim, made, photos))
            for made in images
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
