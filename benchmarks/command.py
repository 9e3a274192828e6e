"""Time and memory of a whole `pigdm restore`, with and without compilation.

    python benchmarks/command.py

A 128 x 128 photo on two CPU cores; the goal is 60 s and 2 GB.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PHOTO = Path(__file__).parent / "photos" / "coffee.png"
TASKS = ["inpaint:freeform", "super_resolution:4,box", "jpeg:10"]


def main() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    print("| task | first start, s | second start, s | peak memory so far |")
    print("| --- | --- | --- | --- |")
    for task in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "pigdm_jax.cli.main",
                "restore",
                str(PHOTO),
            ]
            options = ["--task", task, "--simulate", "--cache", f"{folder}/cache"]
            options += ["--sampler", "fitted", "--steps", "10"]
            seconds = []
            for _ in range(2):
                start = time.perf_counter()
                subprocess.run(
                    command + options, cwd=folder, check=True, stdout=subprocess.DEVNULL
                )
                seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(
            f"| {task} | {seconds[0]:.1f} | {seconds[1]:.1f} | {peak:.2f} GiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
