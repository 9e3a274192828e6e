"""The command `pigdm` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from PIL import Image
from torch_files import flat_state, legacy

import pigdm_jax as pj
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.networks import parameter_shapes


@pytest.fixture
def run(run, tmp_path, monkeypatch):
    """A function that runs the command in an empty folder: (status, output)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path.with_name("kept")))
    reset_cache()
    yield run
    keep_compiled("none")
    reset_cache()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A prior of one block, which compiles sooner than photos-64."""
    network = pj.UNet(pj.UNetConfig(32, (1,), 1, ()))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: 0.05 * rng.standard_normal(leaf.shape, np.float32),
        parameter_shapes(network),
    )
    folder = tmp_path_factory.mktemp("small") / "prior"
    pj.save_prior(folder, network, params, "linear", {})
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    ramp = np.linspace(30, 220, 32).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 128), axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_degrade_then_restore(run, photo, small):
    Path("out").mkdir()
    status, text = run("degrade", photo, "--task", "jpeg", "--out", "out")
    assert status == 0 and size("out/photo-degraded.png") == (32, 32)
    status, text = run("degrade", photo, "--task", "super_resolution:2,box")
    assert status == 0 and "wrote photo-degraded.png" in text
    assert size("photo-degraded.png") == (16, 16)

    status, text = run(
        "restore",
        "photo-degraded.png",
        "--task",
        "super_resolution:2,box",
        "--steps",
        "2",
        "--prior",
        small,
    )
    assert status == 0, text
    assert "to 32 x 32 pixels" in text and "mismatch with the measurement: 0.00" in text
    assert size("photo-degraded-restored.png") == (32, 32)
    assert size("photo-degraded-figure.png")[0] > 3 * 256


def test_simulating_compares_and_draws_samples(run, photo):
    status, text = run(
        *("restore", photo, "--task", "denoise", "--noise", "0.1", "--simulate"),
        *("--steps", "2", "--samples", "2", "--out", "result.png", "--seed", "3"),
        "--plot",
    )
    assert status == 0, text
    for word in ("pseudoinverse", "restored 2", "mean", "dB", "wrote result-mean"):
        assert word in text
    one, two = (np.asarray(Image.open(f"result-{i}.png"), float) for i in (1, 2))
    assert 0 < np.abs(one - two).mean() < 60
    assert size("result-figure.png")[0] > 7 * 256
    assert size("result-trace.png")[0] > 600
    with Image.open("result-std.png") as deviation:
        assert deviation.mode == "L" and deviation.getextrema()[1] == 255


def test_the_noise_of_a_picture_is_estimated(run, tmp_path, small):
    noisy = 128 + 25.5 * np.random.default_rng(0).standard_normal((48, 48, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    status, text = run("restore", "noisy.png", "--task", "denoise")
    assert status == 0, text
    level = float(text.split("noise estimated as ")[1].split()[0])
    assert abs(level - 0.1) < 0.01 and "--noise sets another level" in text
    restored = np.asarray(Image.open("noisy-restored.png"), float)
    assert restored.std() < 10
    status, text = run(
        *("restore", "noisy.png", "--task", "super_resolution:2", "--noise", "auto"),
        *("--steps", "2", "--overwrite", "--prior", small),
    )
    assert status == 0 and f"noise estimated as {level:.3f}" in text, text


def test_a_blur_of_default_width_is_said_to_be_assumed(run, photo, small):
    status, text = run(
        *("restore", photo, "--task", "gaussian_blur", "--steps", "1"),
        *("--prior", small),
    )
    assert status == 0, text
    assert "must be known" in text and "gaussian_blur assumes gaussian_blur:2.0" in text


def test_another_sampler_is_chosen_by_name(run, photo, small):
    status, text = run(
        *("restore", photo, "--task", "super_resolution:2,box", "--simulate"),
        *("--sampler", "ddnm", "--steps", "2", "--prior", small),
    )
    assert status == 0, text
    assert "mismatch with the measurement: 0.00" in text


def test_a_mask_file_marks_the_pixels_to_keep(run, photo, tmp_path, small):
    mask = Image.new("L", (32, 32), 255)
    mask.paste(0, (10, 10, 20, 20))
    mask.save("mask.png")
    status, text = run(
        *("restore", photo, "--task", "inpaint:mask.png", "--steps", "2"),
        *("--out", tmp_path / "filled.png", "--prior", small),
    )
    assert status == 0, text
    before, after = (np.asarray(Image.open(p)) for p in (photo, "filled.png"))
    kept = np.asarray(mask) == 255
    np.testing.assert_array_equal(before[kept], after[kept])
    assert (before[~kept] != after[~kept]).any()


def test_a_jpeg_file_is_restored_by_its_header(run, photo, tmp_path, small):
    with Image.open(photo) as picture:
        picture.save(tmp_path / "old.jpg", quality=12, subsampling="4:2:2")
    status, text = run(
        *("restore", "old.jpg", "--task", "jpeg", "--steps", "2", "--prior", small)
    )
    assert status == 0, text
    assert "the file's own coefficients" in text
    assert float(text.split("measurement: ")[1].split("%")[0]) < 5
    assert size("old-restored.png") == (32, 32)


def test_a_folder_is_restored_and_resumed(run, photo, small):
    Path("in/more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        (Path("in") / name).write_bytes(photo.read_bytes())
    arguments = ("in", "--recursive", "--task", "inpaint:center,8", "--steps", "2")
    arguments += ("--cache", "kept", "--prior", small)
    status, text = run("compile", *arguments, "--batch", "2")
    assert status == 0 and "ready in" in text and any(Path("kept").iterdir())
    status, text = run("restore", *arguments, "--batch", "2")
    assert status == 0, text
    assert "2 pictures to 32 x 32: batches of" in text and "2 restored in" in text
    assert size("in-restored/more/b.png") == (32, 32)
    Path("in/broken.png").write_bytes(b"no picture")
    status, text = run("restore", *arguments, "--batch", "2")
    assert status == 1 and "2 were finished before" in text
    assert 'see "error" in in-restored/manifest' in text
    assert "broken.png: in/broken.png is not a picture" in text


def test_the_programs_of_a_picture_are_compiled_ahead(run, photo, small):
    arguments = (photo, "--task", "inpaint:center,8", "--prior", small)
    arguments += ("--cache", "kept")
    jax.clear_caches()  # what earlier tests compiled would be neither compiled nor kept
    assert "ready in" in run("compile", *arguments)[1]
    assert any(Path("kept").iterdir())
    kept = Path("kept/executables")
    ahead = set(kept.iterdir())
    largest = max(path.stat().st_size for path in ahead)
    status, text = run("restore", *arguments)
    assert status == 0, text
    # Scores and figures have programs of their own, but the step of the network is kept
    # and serves other numbers of steps.
    status, text = run("restore", *arguments, "--steps", "3", "--overwrite")
    assert status == 0, text
    added = set(kept.iterdir()) - ahead
    assert max(path.stat().st_size for path in added) < largest / 4
    assert "keeps nothing" in run("compile", *arguments[:-1], "none")[1]


def test_info_lists_devices_priors_and_methods(run):
    status, text = run("info")
    assert status == 0
    for word in ("cpu:0", "photos-64", "super_resolution:FACTOR", "low_dynamic_range"):
        assert word in text
    for word in (
        "Algorithm 1",
        "products",
        "moment",
        "DiffPIR",
        "red_diff",
        "denoise",
    ):
        assert word in text


def test_convert_reports_and_refuses(run, tmp_path):
    arrays = {"conv.weight": np.zeros((3, 3, 3, 3), "f4")}
    (tmp_path / "other.pt").write_bytes(legacy(*flat_state(arrays)))
    status, text = run("convert", "other.pt", "prior")
    assert status == 1 and "not those of a network that can be converted" in text
    assert not (tmp_path / "prior").exists()


def test_convert_makes_a_prior(run, shared, tmp_path):
    status, text = run("convert", shared / "priors/photos-64.pt", "prior")
    assert status == 0 and "recognised by its tensors: photos-64" in text
    assert (tmp_path / "prior/prior.json").exists()


BAD = {
    "missing image": (["nowhere.png", "--task", "jpeg:9"], "there is no file"),
    "no picture": (["text.png", "--task", "jpeg:9"], "not a picture"),
    "cut picture": (["cut.png", "--task", "jpeg:9"], "cannot be decoded"),
    "unknown task": (["photo.png", "--task", "sharpen"], "no operator 'sharpen'"),
    "quality": (["photo.png", "--task", "jpeg:0"], "from 1 to 100"),
    "other mask": (
        ["photo.png", "--task", "inpaint:small.png"],
        "as large as the image",
    ),
    "no mask": (["photo.png", "--task", "inpaint:nowhere.png"], "there is no file"),
    "size": (["photo.png", "--task", "crop:8,8"], "cannot come from it"),
    "no noise": (["photo.png", "--task", "denoise:0"], "--noise 0.1"),
    "noise of no level": (["photo.png", "--task", "denoise", "--simulate"], "give it"),
    "noise before jpeg": (
        ["photo.png", "--task", "denoise | jpeg:30"],
        "for example 'denoise:0.1 | jpeg:30'",
    ),
    "no such noise": (
        ["photo.png", "--task", "jpeg:30", "--noise", "auto"],
        "'denoise:0.1 | jpeg:30'",
    ),
    "no kernel": (["photo.png", "--task", "blur"], "the blur's kernel must be known"),
    "bad noise": (
        ["photo.png", "--task", "denoise", "--noise", "25"],
        "pixels from 0 to 1",
    ),
    "noise with jpeg": (
        ["photo.png", "--task", "jpeg:9", "--noise", "0.1"],
        "quantises",
    ),
    "prior": (["photo.png", "--task", "jpeg:9", "--prior", "big"], "photos-64"),
    "label": (["photo.png", "--task", "jpeg:9", "--label", "3"], "no classes"),
    "no jpeg": (["photo.png", "--task", "jpeg"], "is no JPEG file"),
    "steps": (["photo.png", "--task", "jpeg:9", "--steps", "0"], "steps must be"),
    "eta": ("photo.png --task jpeg:9 --sampler ddim:eta=2".split(), "eta must be"),
    "gradient": ("photo.png --task jpeg:9 --sampler dps".split(), "the gradient"),
    "sampler": ("photo.png --task jpeg:9 --sampler best".split(), "no sampler 'best'"),
    "sampler's guidance": (
        "photo.png --task grayscale --sampler dps --guidance moment".split(),
        "sampler 'dps' takes no guidance",
    ),
    "guidance": (
        "photo.png --task jpeg:9 --guidance moment:products=0".split(),
        "products must be a whole number from 1 on",
    ),
    "two noises": (
        ["photo.png", "--task", "grayscale | denoise:0.1", "--noise", "0.2"],
        "given twice",
    ),
    "half a host": ([".", "--task", "jpeg:9", "--process", "1"], "go together"),
    "folder's plot": ([".", "--task", "jpeg:9", "--plot"], "not a folder"),
    "samples": (["photo.png", "--task", "jpeg:9", "--samples", "0"], "from 1 to 1000"),
    "ending": (["photo.png", "--task", "jpeg:9", "--out", "x.bmp"], ".png"),
    "folder": (["photo.png", "--task", "jpeg:9", "--out", "no/x.png"], "no folder"),
    "input": (["photo.png", "--task", "jpeg:9", "--out", "photo.png"], "is the input"),
}


def test_pictures_that_cannot_fit_are_refused_at_once(run, tmp_path):
    Image.new("RGB", (3000, 3000)).save(tmp_path / "huge.png")
    status, text = run("restore", "huge.png", "--task", "jpeg:9", "--tile", "0")
    assert status == 1 and "GB; restore it in windows" in text


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_writes_nothing(run, photo, tmp_path, name):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:-60])
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "small.png")
    before = sorted(tmp_path.iterdir())
    arguments, message = BAD[name]
    status, text = run("restore", *arguments)
    assert status == 1 and message in text
    assert text.startswith("pigdm: ") and "\n" not in text
    assert sorted(tmp_path.iterdir()) == before


# Help, and errors that the arguments alone determine: (arguments, what is printed).
EARLY = {
    "help": ("--help", "Restore pictures"),
    "version": ("--version", "pigdm 0."),
    "help of restore": ("restore --help", "Without --simulate"),
    "help of train": ("train --help", "learning rate"),
    "help of convert": ("convert --help", "head"),
    "no command": ("sharpen", "sharpen"),
    "unknown flag": ("restore photo.png --task jpeg:9 --stepps 3", "--steps"),
    "missing file": ("restore nowhere.png --task jpeg:9", "there is no file nowhere"),
    "unknown operator": (
        "restore photo.png --task sharpen",
        "no operator 'sharpen'; there are identity, crop, inpaint",
    ),
    "unknown sampler": (
        "restore photo.png --task jpeg:9 --sampler best:eta=1",
        "no sampler 'best'; there are ddim, fitted",
    ),
    "unknown guidance": (
        "restore photo.png --task jpeg:9 --guidance best",
        "no guidance 'best'; there are pseudoinverse, reconstruction",
    ),
    "unknown prior": (
        "restore photo.png --task jpeg:9 --prior big",
        "one of photos-64, or a name",
    ),
    "output's suffix": (
        "restore photo.png --task jpeg:9 --out x.bmp",
        "ends in one of",
    ),
    "output's folder": ("restore photo.png --task jpeg:9 --out no/x.png", "no folder"),
    "output is input": ("restore photo.png --task jpeg:9 --out photo.png", "the input"),
    "folder is input": ("restore . --task jpeg:9 --out .", "the input"),
    "folder is a file": ("restore . --task jpeg:9 --out photo.png", "is a file"),
    "no sample": ("restore photo.png --task jpeg:9 --samples 0", "from 1 to 1000"),
    "degrade": ("degrade photo.png --task sharpen", "no operator 'sharpen'"),
    "compile": ("compile nowhere.png --task jpeg:9", "there is no file"),
    "bench": ("bench --size 3", "multiple of 4"),
    "bench's prior": ("bench --prior big", "one of photos-64, or a name"),
    "convert": ("convert nowhere.pt prior", "there is no file"),
    "train": ("train nowhere --out run", "there is no file"),
}

EARLY_SCRIPT = """
import contextlib, io, json, sys
from pigdm_jax.cli.main import main

answers = {}
for name, arguments in json.loads(sys.argv[1]).items():
    sys.argv = ["pigdm", *arguments.split()]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            print(end.code)
    answers[name] = text.getvalue()
heavy = {"jax", "flax", "orbax", "optax", "grain", "dm_pix"} & set(sys.modules)
print(json.dumps([answers, sorted(heavy)]))
"""


def test_help_and_wrong_arguments_are_answered_without_jax(photo, tmp_path):
    commands = {name: arguments for name, (arguments, _) in EARLY.items()}
    done = subprocess.run(
        [sys.executable, "-c", EARLY_SCRIPT, json.dumps(commands)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    answers, heavy = json.loads(done.stdout.splitlines()[-1])
    assert not heavy
    for name, (_, message) in EARLY.items():
        assert message in answers[name], name
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
