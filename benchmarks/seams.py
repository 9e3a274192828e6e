"""Do the borders of a tiled prior's windows show? And what do they cost?

    python benchmarks/seams.py photo.jpg --tile 64 --out seams.png

Restores a photo of 1024 x 768 pixels from its 2x box-reduced half in windows, and
compares the energy of the restoration's gradient across the window borders with that
everywhere else, as a ratio to the same ratio of the original: 1 where nothing shows.
With --overlap 0 they do show.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import pigdm_jax as pj
from pigdm_jax import samplers
from pigdm_jax.priors.tiling import window_starts

WIDTH, HEIGHT = 1024, 768
FACTOR = 2


def photo(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
        scale = max(WIDTH / picture.width, HEIGHT / picture.height)
        size = (round(picture.width * scale), round(picture.height * scale))
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32)
    return pixels[:HEIGHT, :WIDTH] / 127.5 - 1


def border_energy(image: np.ndarray, tile: int, overlap: int) -> float:
    """Mean square of the difference across window borders over that elsewhere."""
    across, elsewhere = [], []
    for axis in (0, 1):
        steps = np.moveaxis(np.diff(image, axis=axis) ** 2, axis, 0).mean((1, 2))
        starts = window_starts(image.shape[axis], tile, overlap)
        borders = np.unique([*(starts[1:] - 1), *(starts[:-1] + tile - 1)])
        at = np.arange(len(steps))
        mask = np.isin(at, borders)
        across.append(steps[mask])
        # Borders lie between the measurement's pixels, where steps are larger anyway.
        alike = np.isin(at % FACTOR, borders % FACTOR)
        elsewhere.append(steps[alike & ~mask])
    return float(np.mean(np.concatenate(across)) / np.mean(np.concatenate(elsewhere)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--overlap", type=int, nargs="+", default=[0, 16])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="the last restoration")
    args = parser.parse_args()

    x = photo(args.photo)
    operator = pj.operators.super_resolution(x.shape, FACTOR, "box")
    problem = pj.Problem(operator, operator.apply(jnp.asarray(x)))
    sampler = samplers.DDIM(steps=args.steps)
    inner = pj.load_prior(args.prior)
    print("| overlap | border energy, of the original's | PSNR | seconds |")
    print("| --- | --- | --- | --- |")
    for overlap in args.overlap:
        began = time.perf_counter()
        prior = pj.tiled(inner, args.tile, overlap)
        image = pj.restore(prior, problem, jax.random.key(0), sampler)
        image = np.clip(np.asarray(operator.nearest(image, problem.y)), -1, 1)
        seconds = time.perf_counter() - began
        ratio = border_energy(image, args.tile, overlap)
        ratio /= border_energy(x, args.tile, overlap)
        score = float(pj.psnr(image, x))
        print(f"| {overlap} | {ratio:.3f} | {score:.2f} | {seconds:.0f} |", flush=True)
        if args.out:
            pj.write_picture(args.out, image)


if __name__ == "__main__":
    main()
