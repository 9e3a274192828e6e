"""Kill folder jobs and training runs at random moments, resume them, and compare.

    python tests/kill_jobs.py [--folders 50] [--trainings 20] [--seed 0]

Every job is killed (SIGKILL) once or twice: after a random time, or just before or
after a random renaming of a file. It is then resumed, and every file must equal that of
a job that was not interrupted, and no temporary file may be left. Prints the numbers of
kills and of violations; the exit status is 1 if there are any.

Jobs are forked from this process, which has imported everything but started no backend,
so that a job takes a second.
"""

import argparse
import functools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from folder_job import job
from PIL import Image

from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.folder.job import run
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.loop import train

TINY = TrainConfig(
    steps=6,
    batch=2,
    crop=(8,),
    channels=32,
    channel_mult=(1,),
    blocks=1,
    attention=(),
    warmup=2,
    log_every=1,
    save_every=2,
    sample_every=3,
    held_out=0.3,
)


def save_pictures(folder: Path, count: int) -> None:
    """Random pictures of 16 x 16 pixels."""
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(60, 200, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")


def restore(folder: Path, out: Path) -> None:
    """A folder job with batches of two."""
    keep_compiled(str(folder.with_name("executables")))
    run(job(folder, out))


def train_run(folder: Path, out: Path) -> None:
    """A training run of six steps."""
    kept = str(folder.with_name("programs"))
    jax.config.update("jax_compilation_cache_dir", kept)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not (out / "prior").exists():  # or it was killed when all was done
        train(folder, out, TINY)


def kill_at(rename: int, after: bool) -> None:
    """Kill this process just before or after its n-th renaming of a file."""
    original, count = os.replace, iter(range(rename))

    @functools.wraps(original)
    def replace(*args, **options):
        last = next(count, None) is None
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        original(*args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def forked(work: Callable[[], None], seconds: float | None, point=None) -> bool:
    """Do the work in a child process, which may be killed; whether it was."""
    child = os.fork()
    if not child:
        try:
            if point is not None:
                kill_at(*point)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise RuntimeError("the job failed")
    return False


def results(out: Path) -> dict[str, bytes]:
    """What a job must always write alike, by path; times and Orbax's files are not."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name == "prior/prior.json":
            found[name] = json.dumps(json.loads(path.read_bytes())["arrays"]).encode()
        elif re.fullmatch(r"[^/.]*\.(png|csv|json)|samples/[^.].*", name):
            found[name] = path.read_bytes()
    return found


def leftovers(out: Path) -> list[str]:
    """Temporary files and locks."""
    names = (path.relative_to(out).as_posix() for path in out.rglob("*"))
    wrong = r"(.*/)?(\..*|.*tmp.*|lock.*|unfinished.*)"
    return [name for name in names if re.fullmatch(wrong, name)]


def trial(work, out: Path, whole: dict[str, bytes], rng, limits) -> tuple[int, str]:
    """Kill a job and resume it; the number of kills, and what is wrong or ""."""
    kills, (seconds, renames) = 0, limits
    shutil.rmtree(out, ignore_errors=True)
    try:
        for _ in range(rng.integers(1, 3)):
            if rng.random() < 0.5:
                kills += forked(work, rng.uniform(0, seconds))
            else:
                point = int(rng.integers(renames)), bool(rng.integers(2))
                kills += forked(work, None, point)
            for name, data in results(out).items() if out.exists() else ():
                # What a run appends to, and what is always whole.
                if name != "metrics.csv" and data != whole.get(name):
                    return kills, f"{name} differs after a kill"
        forked(work, None)
    except RuntimeError as error:
        return kills, str(error)
    found = results(out)
    if found != whole:
        names = {x for x in found | whole if found.get(x) != whole.get(x)}
        return kills, f"{', '.join(sorted(names))} differ"
    left = leftovers(out)
    return kills, f"{', '.join(left)} left" if left else ""


def campaign(name: str, work, least: int, renames: int, rng) -> int:
    """Kill one kind of job that many times; prints and returns the violations."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        save_pictures(place / "in", 9)
        forked(lambda: work(place / "in", place / "whole"), None)
        whole, began = results(place / "whole"), time.perf_counter()
        shutil.rmtree(place / "whole")
        forked(lambda: work(place / "in", place / "whole"), None)
        seconds = time.perf_counter() - began
        assert whole == results(place / "whole") and len(whole) > 4
        trials, kills, wrong, out = 0, 0, [], place / "out"
        while kills < least:
            count, what = trial(
                lambda: work(place / "in", out), out, whole, rng, (seconds, renames)
            )
            trials, kills = trials + 1, kills + count
            if what:
                wrong.append(what)
                print(f"{name}, trial {trials}: {what}", flush=True)
    print(f"{name}: {trials} jobs, {kills} kills, {len(wrong)} violations", flush=True)
    return len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folders", type=int, default=50, help="kills, at least")
    parser.add_argument("--trainings", type=int, default=20, help="kills, at least")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    wrong = 0
    if args.folders:
        wrong += campaign("folders", restore, args.folders, 14, rng)
    if args.trainings:
        wrong += campaign("trainings", train_run, args.trainings, 5, rng)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
