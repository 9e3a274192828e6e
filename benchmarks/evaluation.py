"""Time and memory of FID, with random weights, and its error beside scipy's.

Pictures are smooth noise of 256 x 256 pixels. Values of random weights mean nothing,
but cost what those of the public ones do.
"""

import argparse
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from pigdm_jax.devices.hosts import device_for_each_core


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Write pictures of noise that is enlarged eightfold."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        picture = small.resize((256, 256), Image.Resampling.BICUBIC)
        picture.save(folder / f"{i:05d}.png")


def time_folders(count: int, batch: int) -> None:
    """Print the time and the memory of FID between two folders."""
    import jax
    import jax.numpy as jnp

    from pigdm_jax.metrics import FrechetDistance, plan_evaluation
    from pigdm_jax.metrics.networks.inception import InceptionFeatures, InceptionV3

    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        inputs = max(np.prod(leaf.shape[:-1]), 1)
        return np.float32(rng.normal(size=leaf.shape) * np.sqrt(2 / inputs))

    images = jnp.zeros((1, 75, 75, 3))
    shapes = jax.eval_shape(InceptionV3().init, jax.random.key(0), images)["params"]
    network = InceptionFeatures(jax.tree.map(draw, shapes))
    fid = FrechetDistance("fid", "FID", "lower", network=network, features=2048)
    marks = []

    def progress(done: int, total: int) -> None:
        marks.append((done, time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for i, name in enumerate(("restored", "clean")):
            write_pictures(place / name, count, i)
        statistics = place / "clean.npz"
        plan = plan_evaluation(
            place / "restored",
            place / "clean",
            [fid],
            batch=batch,
            save_statistics=statistics,
        )
        plan.run(progress)
        ended = time.perf_counter(), time.process_time()
    first, *_, last = marks[1:]
    pictures = last[0] - first[0]
    seconds, cores = ((last[i] - first[i]) / pictures for i in (1, 2))
    print(
        f"{count} pictures beside {count}, batches of {batch}, on "
        f"{len(jax.local_devices())} devices, load average "
        f"{os.getloadavg()[0]:.1f}"
    )
    print(f"{first[1] - marks[0][1]:.1f} s for the first batch, compiling included")
    print(f"{1e3 * seconds:.0f} ms a picture after it, {1e3 * cores:.0f} ms of a core")
    print(
        f"{ended[0] - last[1]:.1f} s for the distance and for saving statistics, "
        f"{ended[1] - last[2]:.1f} s of a core"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{peak / 1e9:.2f} GB of memory at most")


def compare_roots(size: int) -> None:
    """Print the errors of the distance and of pytorch-fid's formula."""
    import scipy.linalg

    from pigdm_jax.metrics import Gaussian, frechet_distance

    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    print(f"\n{size} features | error here | scipy's sqrtm | s here | s scipy")
    for rank in (size, size // 2):
        values = [np.zeros(size), np.zeros(size)]
        for v in values:
            v[:rank] = rng.uniform(0, 1, rank) ** 8  # many of them tiny
        a, b = (Gaussian(np.zeros(size), (basis * v) @ basis.T) for v in values)
        truth = np.sum((np.sqrt(values[0]) - np.sqrt(values[1])) ** 2)
        began = time.perf_counter()
        ours = frechet_distance(a, b)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            root = np.real(scipy.linalg.sqrtm(a.covariance @ b.covariance))
        theirs = np.trace(a.covariance + b.covariance - 2 * root)
        ended = time.perf_counter()
        print(
            f"rank {rank} | {abs(ours - truth):.1e} | {abs(theirs - truth):.1e} | "
            f"{middle - began:.1f} | {ended - middle:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--features", type=int, default=2048)
    args = parser.parse_args()
    device_for_each_core()
    time_folders(args.count, args.batch)
    compare_roots(args.features)


if __name__ == "__main__":
    main()
