"""Wrong command lines on purpose: `python tests/fuzz_command.py [SECONDS] [SEED]`.

The command runs in this process, with random flags and values, in a folder of files
that are broken, foreign, pipes or links. Every run must succeed or end in one line,
soon, and leave no file behind but its results. A status of 70, a bug, is a failure.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from torch_files import flat_state, legacy

from pigdm_jax.cli.main import main
from pigdm_jax.metrics.registry import METRICS
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.operators.registry import REGISTRY
from pigdm_jax.samplers.registry import SAMPLERS
from pigdm_jax.weights.store import save_prior

LONGEST = 120  # seconds of a run, most of them for compiling

NUMBERS = [
    *("0", "1", "2", "-1", "4", "0.1", "nan", "inf", "-inf", "1e9", "1e400", "0x10"),
    *("9" * 25, "1e-320", "2.5", "true", "none", "", " ", "auto", "?", "1_0", "٣"),
]
WORDS = [
    *NUMBERS,
    "x",
    "a" * 300,
    "é\ud800",
    "a\nb",
    "\x1b[2J",
    "{stem}",
    "'",
    "||",
    ",",
]
FILES = [
    *("photo.png", "grey.png", "tiny.png", "photo.jpg", "mask.png", "text.png"),
    *(
        "cut.png",
        "cut.jpg",
        "avif.jpg",
        "exif.jpg",
        "empty.png",
        "pipe.png",
        "loop.png",
    ),
    *("dangling.png", "folder", "empty", "/dev/zero", "/dev/null", "nowhere.png", "."),
    *("weights.pt", "prior", "b" * 250 + ".png", "prior/prior.json", "locked/a.png"),
]
PRIORS = ["prior"] * 6 + ["listed", "lacking", "partial", "photos-65", *FILES[-8:]]


def make_files(folder: Path) -> None:
    """Pictures, checkpoints and priors, whole and broken."""
    ramp = np.linspace(30, 220, 16).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:, None], np.uint8(128)), -1)
    photo = Image.fromarray(pixels)
    photo.save("photo.png")
    photo.convert("L").save("grey.png")
    photo.resize((2, 1)).save("tiny.png")
    photo.save("photo.jpg", quality=30)
    photo.save("avif.jpg", "AVIF")
    photo.save("exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(9))
    photo.save("b" * 250 + ".png")
    mask = np.full((16, 16), 255, np.uint8)
    mask[4:8, 4:8] = 0
    Image.fromarray(mask).save("mask.png")
    for name in ("cut.png", "cut.jpg"):
        content = Path(name.replace("cut", "photo")).read_bytes()
        Path(name).write_bytes(content[: len(content) * 2 // 3])
    Path("text.png").write_text("no picture")
    Path("empty.png").write_bytes(b"")
    os.mkfifo("pipe.png")
    Path("loop.png").symlink_to("loop.png")
    Path("dangling.png").symlink_to("nowhere")
    Path("folder").mkdir()
    Path("empty").mkdir()
    shutil.copy("photo.png", "folder/a.png")
    arrays = {"a.weight": np.ones((3, 3), "f4")}
    Path("weights.pt").write_bytes(legacy(*flat_state(arrays)))
    make_priors(folder)


def make_priors(folder: Path) -> None:
    """A prior of a small network, and broken ones."""
    network = UNet(UNetConfig(32, (1,), 1, ()))
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    t = jax.ShapeDtypeStruct((1,), np.float32)
    key = jax.ShapeDtypeStruct((2,), np.uint32)
    shapes = jax.eval_shape(network.init, key, x, t)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype("f4") / 30, shapes)
    save_prior(folder / "prior", network, params, "linear", {})
    metadata = json.loads(Path("prior/prior.json").read_text())
    for name, content in (
        ("listed", []),
        ("lacking", {k: v for k, v in metadata.items() if k != "config"}),
        ("partial", metadata),
    ):
        shutil.copytree("prior", name)
        Path(name, "prior.json").write_text(json.dumps(content))
    next(p for p in Path("partial/params").rglob("*") if p.is_file()).unlink()


def a_task(rng: random.Random) -> str:
    """A task, mostly of known names with wrong parameters."""
    stages = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = rng.choice([*REGISTRY, "denoise", "x", ""])
        values = [*WORDS, *FILES, "center", "freeform", "box", "4:4:4", "factor=2"]
        given = rng.sample(values, rng.choice([0, 0, 1, 1, 2, 3]))
        stages.append(f"{name}:{','.join(given)}" if given else name)
    simple = ["super_resolution:2", "denoise:0.1", "inpaint:mask.png", "jpeg", "jpeg:9"]
    return rng.choice([" | ".join(stages), rng.choice(simple)])


def a_value(flag: str, rng: random.Random) -> str:
    """A value of a flag, wrong or not."""
    if flag == "--task":
        return a_task(rng)
    if flag == "--prior":
        return rng.choice(PRIORS)
    if flag in ("--out", "--cache"):
        return rng.choice(["out.png", "out", "none", "/nowhere/x.png", *FILES, *WORDS])
    if flag == "--metrics":
        return rng.choice([*METRICS, "x", f"consistency:{a_task(rng)}"])
    if flag == "--reference":
        return rng.choice(["folder"] * 9 + FILES)
    if flag in ("--report", "--json", "--csv", "--save-statistics"):
        return rng.choice(["out.html", "out.json", "out.csv", "out.npz", *FILES])
    if flag == "--sampler":
        fields = ("steps=1", "eta=nan", "start=0.3", "x=1", "inner=(ddim)", "((", "")
        return rng.choice([*SAMPLERS]) + rng.choice(["", ":" + rng.choice(fields)])
    if flag == "--guidance":
        names = ("pseudoinverse", "moment", "calibrated", "x", "moment:products=0")
        return rng.choice(names)
    return rng.choice([*NUMBERS, *WORDS[-10:]])


FLAGS = {
    "restore": [
        *(
            "--noise",
            "--label",
            "--sampler",
            "--steps",
            "--aim",
            "--guidance",
            "--tile",
        ),
        *("--seed", "--batch", "--pad", "--coordinator", "--processes", "--process"),
        *("--samples", "--cache", "--out"),
    ],
    "compile": ["--noise", "--label", "--sampler", "--guidance", "--tile", "--cache"],
    "degrade": ["--noise", "--seed", "--out"],
    "convert": [
        *("--num-head-channels", "--num-heads", "--new-attention-order"),
        *("--image-size", "--schedule", "--attention-resolutions"),
    ],
    "train": ["--steps", "--batch", "--crop", "--lr", "--seed", "--init", "--channels"],
    "bench": ["--size", "--batch", "--steps", "--rounds"],
    "evaluate": [
        *("--reference", "--metrics", "--labels", "--batch", "--save-statistics"),
        *("--report", "--json", "--csv"),
    ],
}


def a_command(rng: random.Random) -> list[str]:
    """The words of a command."""
    name = rng.choice(["restore"] * 6 + ["degrade"] * 3 + [*FLAGS, "info", "x"])
    picture = rng.choice([*FILES, *["photo.png"] * 9, rng.choice(WORDS)])
    words = [name, picture]
    if name in ("restore", "compile", "degrade"):
        words += ["--task", a_task(rng)]
    if name in ("restore", "compile"):
        words += ["--prior", rng.choice(PRIORS)]
        words += rng.choice([[], ["--simulate"], ["--simulate", "true"]])
    if name == "evaluate":
        words = [name, rng.choice(["folder"] * 9 + FILES)]
        words += rng.choice([[], ["--reference", "folder"]])
    if name == "convert":
        words += [rng.choice(["out", "prior", "", "/dev/null/x", "a" * 300])]
    if name == "train":  # a run that begins would take minutes
        words = [name, rng.choice(FILES[:-8]), "--out", "out", "--steps", "0"]
    if name in ("bench", "info", "x"):
        words = [name, "--size", "3"] if name == "bench" else [name, "--x"]
    flags = FLAGS.get(name, [])
    for flag in rng.sample(flags, min(len(flags), rng.choice([0, 1, 1, 2, 3]))):
        words += [flag, a_value(flag, rng)]
    if "--steps" not in words and name == "restore":
        words += ["--steps", "1"]
    return words


def check(words: list[str]) -> int:
    """Run a command; its status.

    Raises:
      AssertionError: if it ends in another way than it should.
    """
    text, status = io.StringIO(), 0
    sys.argv = ["pigdm", *words]
    began = time.monotonic()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            line = str(end.code)
    assert status in (0, 1, 2), f"status {status}: {text.getvalue()[-500:]}"
    if status == 1 and isinstance(end_line := line, str) and end_line != "1":
        assert end_line.startswith("pigdm: ") and end_line.isprintable(), end_line
    assert "Traceback" not in text.getvalue(), text.getvalue()
    assert time.monotonic() - began < LONGEST, "it took too long"
    left = [p.name for p in Path().iterdir() if p.name.startswith(".")]
    assert not left, f"left behind: {left}"
    return status


def too_long(*args: object) -> None:
    """End a run that hangs."""
    raise TimeoutError("the command hangs")


def clean(kept: set[str]) -> None:
    """Remove what commands have written."""
    for path in Path().iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def fuzz(seconds: float, seed: int) -> Counter[int]:
    """Run commands until the time is over; how often each status occurred.

    Raises:
      AssertionError: at the first violation, with the command.
    """
    rng, counts = random.Random(seed), Counter[int]()
    signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{name}/cache"
        make_files(Path(name))
        kept = {path.name for path in Path().iterdir()} | {"cache"}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            words = a_command(rng)
            signal.alarm(LONGEST)
            try:
                counts[check(words)] += 1
            except (AssertionError, Exception) as error:
                raise AssertionError(f"pigdm {words!r}: {error}") from error
            finally:
                signal.alarm(0)
            clean(kept)
    return counts


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print({f"status {k}": v for k, v in sorted(fuzz(seconds, seed).items())})
