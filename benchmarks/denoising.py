"""The prior as a denoiser, against non-local means, BM3D and FFDNet.

    python benchmarks/denoising.py --photos ../shared/data/eval/cbsd68

PSNR in dB on photos with noise of known level, by one evaluation of the prior and by
the mean over as many mirror images as it has symmetries, as `pigdm` does it.
Needs scikit-image, and bm3d for its column: pip install scikit-image bm3d. FFDNet's
weights are a file of yours; see ffdnet.py.
"""

import argparse
import importlib.util
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ffdnet import ffdnet

import pigdm_jax as pj

SIGMAS = (0.05, 0.1, 0.2)  # pixels 0 to 1


def denoise(
    prior: pj.Prior, noisy: np.ndarray, sigma: float, views: int = 1
) -> np.ndarray:
    """x0 of a photo in [-1, 1] with noise sigma on [0, 1]."""
    problem = pj.Problem(pj.operators.identity(noisy.shape), noisy, 2 * sigma)
    sampler = pj.samplers.Denoiser(views)
    return np.asarray(pj.restore(prior, problem, jax.random.key(0), sampler))


def photo(path: Path, crop: int | None) -> np.ndarray:
    """A photo, or the middle of it."""
    x = pj.read_image(path)
    if crop:
        row, column = ((n - crop) // 2 for n in x.shape[:2])
        x = x[row : row + crop, column : column + crop]
    return x


def non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    x = denoise_nl_means(
        (noisy + 1) / 2,
        patch_size=5,
        patch_distance=6,
        h=0.8 * sigma,
        sigma=sigma,
        channel_axis=-1,
    )
    return 2 * x - 1


def bm3d(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from bm3d import bm3d_rgb

    return 2 * bm3d_rgb((noisy + 1) / 2, sigma) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--priors", nargs="+", default=["photos-64"])
    parser.add_argument("--ffdnet", type=Path, help="its weights, for a column")
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--crop", type=int, help="the middle of this side")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()

    priors = {name: pj.load_prior(name) for name in args.priors}
    classical = {"non-local means": non_local_means}
    if importlib.util.find_spec("bm3d") is not None:
        classical["BM3D"] = bm3d
    if args.ffdnet:
        classical["FFDNet"] = ffdnet(args.ffdnet)
    methods = {}
    for name, prior in priors.items():
        for views in sorted({1, prior.symmetries}):
            label = Path(name).name + (f", {views} views" if views > 1 else "")
            methods[label] = partial(denoise, prior, views=views)
    methods |= classical
    paths = sorted(args.photos.glob("*.*"))[: args.limit]
    print("| sigma | noisy | " + " | ".join(methods) + " |")
    print("| --- " * (len(methods) + 2) + "|")
    rows = []
    for sigma in SIGMAS:
        scores = []
        for i, path in enumerate(paths):
            x = photo(path, args.crop)
            rng = np.random.default_rng(i)
            y = (x + 2 * sigma * rng.normal(size=x.shape)).astype(np.float32)
            images = [y, *(method(y, sigma) for method in methods.values())]
            images = [np.clip(image, -1, 1).astype(np.float32) for image in images]
            scores.append([float(pj.psnr(image, x)) for image in images])
        means = np.mean(scores, axis=0).tolist()
        rows.append({"sigma": sigma, "photos": len(paths), "noisy": means[0]})
        rows[-1] |= dict(zip(methods, means[1:], strict=True))
        print(f"| {sigma} | " + " | ".join(f"{v:.2f}" for v in means) + " |")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
