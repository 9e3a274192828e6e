"""Put a training run's averaged weights into the package if they are better.

    python benchmarks/ship_prior.py RUN photos-64 --photos packed/evaluation

RUN is the folder of `pigdm train`, finished or not: its latest checkpoint counts; or
that of train_torch.py. Both priors denoise the photos in one step at several noise
levels, and the one with the higher mean PSNR at those of photos stays. Weights are
stored in half precision. The card beside them, README.md, is for a person to write.
"""

import argparse
import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
from denoising import denoise, photo

import pigdm_jax as pj
from pigdm_jax.priors.network import NetworkPrior
from pigdm_jax.training.folder import CHECKPOINTS
from pigdm_jax.training.loop import averaged_prior
from pigdm_jax.weights.metadata import read_metadata
from pigdm_jax.weights.names import METADATA, SHIPPED

# Pixels 0 to 1. Above 0.2, how well large structures are predicted.
SIGMAS = (0.025, 0.05, 0.1, 0.2, 0.5, 2.0)
# So many of them decide. The last is only printed: on eight tasks restorations gained
# 0.1 to 0.2 dB while it fell by 0.3.
DECISIVE = 5
# Of no use to a run that begins with a prior's weights.
NETWORK_FLAGS = ("channels", "channel_mult", "blocks", "attention", "resampling")
# Less than this, in dB, is not worth a new file in the history.
LEAST_GAIN = 0.02


def in_half(prior: NetworkPrior) -> NetworkPrior:
    """The prior with its weights rounded as they are stored."""

    def rounded(a: jax.Array) -> np.ndarray:
        return np.asarray(a, np.float16).astype(np.float32)

    return dataclasses.replace(prior, params=jax.tree.map(rounded, prior.params))


def averaged(run: Path) -> tuple[NetworkPrior, int]:
    """The averaged weights of a run, and the number of its steps."""
    if (run / CHECKPOINTS).exists():
        return averaged_prior(run)
    source = read_metadata(run / "prior")["source"]
    return pj.load_prior(run / "prior"), int(source["step"])


def scores(prior: NetworkPrior, photos: list[np.ndarray]) -> list[float]:
    """Mean PSNR of one-step denoising at each of SIGMAS."""
    means = []
    for sigma in SIGMAS:
        rows = []
        for i, x in enumerate(photos):
            noise = np.random.default_rng(i).normal(size=x.shape)
            y = (x + 2 * sigma * noise).astype(np.float32)
            rows.append(float(pj.psnr(np.clip(denoise(prior, y, sigma), -1, 1), x)))
        means.append(float(np.mean(rows)))
    return means


def ship(prior: NetworkPrior, name: str, source: dict[str, str]) -> None:
    """Replace the weights of a shipped prior, once all is written."""
    place = SHIPPED / name
    complete = place.with_name(f"{name}.new")
    shutil.rmtree(complete, ignore_errors=True)
    half = jax.tree.map(lambda a: np.asarray(a, np.float16), prior.params)
    pj.save_prior(
        complete,
        prior.network,
        half,
        prior.schedule,
        source,
        prior.predicts,
        trained_size=prior.trained_size,
        # What the photos say, not the training: upside down they are denoised as well.
        symmetries=8,
    )
    place.mkdir(exist_ok=True)
    shutil.rmtree(place / "params", ignore_errors=True)
    for new in complete.iterdir():
        os.replace(new, place / new.name)
    complete.rmdir()


def training(run: Path) -> str:
    """The flags of a run, as JSON; without those that it did not use."""
    flags = json.loads((run / "config.json").read_text())
    unused = NETWORK_FLAGS if flags["init"] else ()
    return json.dumps({k: v for k, v in flags.items() if k not in unused})


def earlier(name: str, run: Path) -> str:
    """The runs that a shipped prior has behind it besides this one, as JSON."""
    source = read_metadata(SHIPPED / name)["source"]
    runs = json.loads(source.get("earlier", "[]"))
    if source["training"] != training(run):
        last = {"training": json.loads(source["training"])}
        runs.append(last | {k: source[k] for k in ("step",) if k in source})
    return json.dumps(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name", help="of the shipped prior")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=16, help="only the first photos")
    parser.add_argument("--crop", type=int, default=256, help="the middle of this side")
    args = parser.parse_args()

    paths = sorted(args.photos.glob("*.*"))[: args.limit]
    photos = [photo(path, args.crop) for path in paths]
    candidate, step = averaged(args.run)
    there = (SHIPPED / args.name / METADATA).exists()
    new = scores(in_half(candidate), photos)
    old = scores(pj.load_prior(args.name), photos) if there else [-np.inf] * len(new)
    gain = np.mean(new[:DECISIVE]) - np.mean(old[:DECISIVE])
    for what, row in (("shipped", old), (f"step {step}", new)):
        print(f"{what:>12}: " + "  ".join(f"{value:.2f}" for value in row))
    if gain < LEAST_GAIN:
        print(f"{gain:+.3f} dB: the shipped weights stay")
        return
    count = sum(a.size for a in jax.tree.leaves(candidate.params)) / 1e6
    source = {
        "description": f"natural photographs, any size that is a multiple of "
        f"{candidate.multiple}, {count:.2f} M parameters",
        "training": training(args.run),
        "step": str(step),
        "earlier": earlier(args.name, args.run) if there else "[]",
    }
    ship(candidate, args.name, source)
    print(f"{gain:+.3f} dB: step {step} is shipped as {args.name}")


if __name__ == "__main__":
    main()
