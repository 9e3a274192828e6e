"""Throughput of folder jobs by batch size and number of devices.

    python benchmarks/folders.py --photos ../shared/data/eval

Each row is measured in a process of its own, which restores the same pictures (64 x 64
crops, 4x super-resolution, shipped prior) with a compiled program. "outside" is the
fraction of the time, without compiling, during which no batch was being computed.
Emulated CPU devices use the same cores: they show that it works, not that it is faster.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import pigdm_jax as pj
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.folder.job import Job, run
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers import Fitted

SIDE = 64
RESULTS = Path(__file__).parent / "results"


def crops(photos: Path, count: int, folder: Path) -> None:
    files = sorted(p for p in photos.rglob("*") if p.suffix in (".png", ".jpg"))
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = pj.read_image(files[i % len(files)])
        row, column = (rng.integers(n - SIDE + 1) for n in picture.shape[:2])
        crop = picture[row : row + SIDE, column : column + SIDE]
        pj.write_picture(folder / f"{i:04}.png", crop)


def measure(folder: Path, out: Path, batch: str, steps: int, cache: str) -> None:
    keep_compiled(cache)
    task, sampler = Task.parse("super_resolution:4,box"), Fitted(steps=steps)
    request = Request(task, simulate=True, sampler=sampler)
    size = None if batch == "auto" else int(batch)
    prior = pj.load_prior(request.prior)
    done = run(Job(request, prior, folder, out, size, remark=lambda line: None))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    row = {
        "kind": jax.devices()[0].device_kind,
        "compile": done.compile_seconds,
        "images_per_second": done.restored / done.seconds,
        "outside": 1 - done.device_seconds / done.seconds,
        "host_gib": peak,
        "device_gib": None if device is None else device / 2**30,
    }
    print(json.dumps(row))


def plot(rows: list[dict], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for devices in sorted({row["devices"] for row in rows}):
        own = [r for r in rows if r["devices"] == devices and r["batch"] != "auto"]
        sizes = [int(row["batch"]) for row in own]
        for axis, name in zip(axes, ("images_per_second", "host_gib"), strict=True):
            values = [row[name] for row in own]
            axis.plot(sizes, values, "o-", label=f"{devices} devices")
    for axis, text in zip(axes, ("images / s", "peak memory, GiB"), strict=True):
        axis.set(xlabel="batch", ylabel=text, ylim=(0, None), xscale="log")
        axis.set_xticks(sizes, sizes)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batches", nargs="+", default=["1", "2", "4", "8", "16"])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS / "folders.json")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        folder, out, batch, steps, cache = args.child
        measure(Path(folder), Path(out), batch, int(steps), cache)
        return

    rows = []
    print("| devices | batch | images / s | compile, s | outside | peak host GiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        crops(args.photos, args.count, folder)
        command = [sys.executable, __file__, "--photos", args.photos]
        for devices in args.devices:
            flag = f"--xla_force_host_platform_device_count={devices}"
            for batch in args.batches:
                out, cache = (
                    Path(place) / name for name in (f"{devices}-{batch}", "cache")
                )
                child = map(str, (folder, out, batch, args.steps, cache))
                done = subprocess.run(
                    [*command, "--child", *child],
                    env=os.environ | {"XLA_FLAGS": flag} if devices > 1 else None,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                row = json.loads(done.stdout.splitlines()[-1])
                rows.append({"devices": devices, "batch": batch, **row})
                print(
                    f"| {devices} | {batch} | {row['images_per_second']:.2f} "
                    f"| {row['compile']:.1f} | {row['outside']:.1%} "
                    f"| {row['host_gib']:.2f} |",
                    flush=True,
                )
    args.out.write_text(json.dumps(rows, indent=1) + "\n")
    plot(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
