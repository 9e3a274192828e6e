"""How long `pigdm` takes from Enter to the end, and where the time goes.

    python benchmarks/command.py [--task TASK ...]

Whole commands on a 128 x 128 photo and two cores, each the best of three but the first
start; then the stages of a warm start, in one process. Goals on two quiet cores: help
and errors 0.5 s, warm 3.5 s, first 14 s.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PHOTO = Path(__file__).resolve().parent / "photos" / "coffee.png"
TASKS = ["inpaint:freeform", "super_resolution:4,box", "jpeg:10"]


def pigdm(*arguments: str, cwd: str) -> float:
    """Seconds of a whole command; a failing one is timed too."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pigdm_jax.cli.main", *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def answers(folder: str) -> None:
    """Commands that compute nothing."""
    print("| answer | seconds |\n| --- | --- |")
    for name, arguments in (
        ("--help", ["--help"]),
        ("restore --help", ["restore", "--help"]),
        ("no such file", ["restore", "nowhere.png", "--task", "jpeg:10"]),
        ("unknown task", ["restore", str(PHOTO), "--task", "sharpen"]),
        (
            "unknown sampler",
            ["restore", str(PHOTO), "--task", "jpeg:10", "--sampler", "best"],
        ),
    ):
        best = min(pigdm(*arguments, cwd=folder) for _ in range(3))
        print(f"| {name} | {best:.2f} |", flush=True)


def starts(task: str, folder: str) -> None:
    """A first start and warm ones."""
    command = ["restore", str(PHOTO), "--task", task, "--simulate", "--overwrite"]
    command += ["--cache", f"{folder}/cache"]
    first = pigdm(*command, cwd=folder)
    warm = min(pigdm(*command, cwd=folder) for _ in range(3))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"| {task} | {first:.1f} | {warm:.2f} | {peak:.2f} GiB |", flush=True)


def stages(task: str, cache: str) -> None:
    """Print what a warm start does, and when; to be run in a fresh process."""
    began = last = time.perf_counter()
    print("| stage of a warm start | seconds | ends at |\n| --- | --- | --- |")

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        nonlocal last
        yield
        now = time.perf_counter()
        print(f"| {name} | {now - last:.2f} | {now - began:.2f} |", flush=True)
        last = now

    with stage("arguments"):
        import pigdm_jax.cli.main  # noqa: F401
        from pigdm_jax.cli.flags import RestoreFlags
        from pigdm_jax.cli.restoring import _program_name

        flags = RestoreFlags(task, simulate=True)
        flags.check_names()
    with stage("import JAX"):
        from pigdm_jax.core.compilation import keep_compiled, prefetch

        keep_compiled(cache)
        prefetch(_program_name(PHOTO, flags))
    with stage("import the rest, while executables load"):
        from pigdm_jax.metrics import default_metrics
        from pigdm_jax.pictures.report import report_on
        from pigdm_jax.pictures.results import restore_picture

        request = flags.request()
    with stage("read the picture and the prior"):
        prepared = request.prepare(PHOTO)
        case, prior = prepared.case, prepared.prior
        sampler = request.sampler_for(prior, case.problem)
        (key,) = prepared.sample_keys(1)
    steps: list[float] = []

    def on_step(index: int, info: object) -> None:
        steps.append(time.perf_counter())

    with stage("wait for the executables; ten evaluations"):
        result = restore_picture(prior, case.problem, key, sampler, on_step)
    print(f"| of that from the first to the last step | {steps[-1] - steps[0]:.2f} | |")
    with stage("scores and figure"):
        report_on(case, [result], default_metrics())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", action="append", help="instead of the usual three")
    parser.add_argument("--stages", metavar="CACHE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    tasks = args.task or TASKS
    if args.stages:
        stages(tasks[0], args.stages)
        return
    with tempfile.TemporaryDirectory() as folder:
        answers(folder)
        print("\n| task | first, s | warm, s | peak memory so far |")
        print("| --- | --- | --- | --- |")
        for task in tasks:
            starts(task, folder)
        print(flush=True)
        command = [sys.executable, __file__, "--task", tasks[0]]
        subprocess.run([*command, "--stages", f"{folder}/cache"], check=True)


if __name__ == "__main__":
    main()
