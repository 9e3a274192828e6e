"""Folders: every picture restored, whatever happens on the way."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from folder_job import GREY, REQUEST, TASK, batch_over, job
from PIL import Image

from pigdm_jax import from_denoiser, make_mesh
from pigdm_jax.devices.memory import largest_batch
from pigdm_jax.devices.programs import BatchProgram
from pigdm_jax.folder import job as job_module
from pigdm_jax.folder.job import run
from pigdm_jax.folder.journal import Journal
from pigdm_jax.pictures.opening import digest
from pigdm_jax.pictures.reading import read_image
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers import Fitted

SCRIPT = Path(__file__).with_name("folder_job.py")


def save(path, height=8, width=12, seed=0, **how):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(60, 200, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **how)


@pytest.fixture
def folder(tmp_path):
    """Seven pictures of two sizes, in two folders."""
    for i in range(5):
        save(tmp_path / f"in/{i}.png", seed=i)
    save(tmp_path / "in/more/5.jpg", seed=5)
    save(tmp_path / "in/more/tall.png", 10, 6, seed=6)
    return tmp_path / "in"


def lines(out, process="*"):
    """The journal's lines, with their settings and the first output."""
    found = []
    for file in sorted((out / "manifest").glob(f"*-{process}.json")):
        saved = json.loads(file.read_text())
        for line in saved["pictures"]:
            first = next(iter(line.get("outputs", [None])))
            found.append(line | {"settings": saved["settings"], "output": first})
    return found


def pictures(out):
    """The finished ones by name; temporary files may disappear at any moment."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("[!.]*.png"))
        if out / "manifest" not in path.parents
    }


def leftovers(out):
    """What is in a finished job's folder and should not be."""
    files = {path.name for path in (out / "manifest").iterdir()}
    return {name for name in files if not re.fullmatch(r"\d+-\d+\.json", name)} | {
        path.name for path in out.rglob(".*")
    }


def request(text, noise=None, steps=2, **options):
    task = Task.parse(text).with_noise(noise)
    return Request(task, sampler=Fitted(steps=steps), **options)


def start(*arguments, **environment):
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)], env=os.environ | environment
    )


def test_a_picture_in_a_folder_is_restored_as_if_it_were_alone(folder, tmp_path):
    summary = run(job(folder, tmp_path / "out"))
    assert (summary.restored, summary.failed, summary.compilations) == (7, 0, 2)
    written = pictures(tmp_path / "out")
    names = ["0.png", "1.png", "2.png", "3.png", "4.png", "more/5.png", "more/tall.png"]
    assert sorted(written) == names
    for line in lines(tmp_path / "out"):
        path = folder / line["input"]
        assert (
            line["digest"] == digest(path)
            and line["settings"]["sampler"] == "fitted:steps=3"
        )
        case, key = REQUEST.read(path)
        problem, key = case.problem, jax.random.fold_in(key, 0)
        alone = restore_picture(GREY, problem, key, REQUEST.sampler)
        with Image.open(tmp_path / "out" / line["output"]) as written:
            off = np.abs(np.asarray(written, int) - np.asarray(alone.pixels, int))
        # XLA may reorder the float32 sums of another program, and a pixel may be on the
        # boundary between two values.
        assert off.max() <= 1 and (off > 0).mean() < 0.005
        assert abs(line["off"] - float(alone.mismatch)) < 1e-5


def test_each_picture_of_a_batch_has_its_own_estimated_noise(tmp_path):
    rng = np.random.default_rng(0)
    for i, level in enumerate((0.05, 0.1, 0.02)):
        pixels = 127 + 255 * level * rng.standard_normal((32, 40, 3))
        path = tmp_path / f"in/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8)).save(path)
    Image.new("RGB", (40, 32), "white").save(tmp_path / "in/3.png")
    whole = dataclasses.replace(request("denoise"), sampler=None)
    summary = run(job(tmp_path / "in", tmp_path / "out", request=whole, batch=2))
    assert (summary.restored, summary.failed, summary.compilations) == (3, 1, 1)
    found = {line["input"]: line for line in lines(tmp_path / "out")}
    assert "--noise 0.1" in found["3.png"]["error"]
    for i, level in enumerate((0.05, 0.1, 0.02)):
        line, path = found[f"{i}.png"], tmp_path / f"in/{i}.png"
        assert abs(line["noise"] / level - 1) < 0.1
        case, key = whole.read(path)
        assert case.problem.noise_std == 2 * line["noise"]
        alone = restore_picture(GREY, case.problem, jax.random.fold_in(key, 0))
        with Image.open(tmp_path / "out" / line["output"]) as written:
            off = np.abs(np.asarray(written, int) - np.asarray(alone.pixels, int))
        assert off.max() <= 1 and (off > 0).mean() < 0.005


def test_other_batches_give_the_same(folder, tmp_path):
    run(job(folder, tmp_path / "two"))
    run(job(folder, tmp_path / "five", batch=5))
    run(job(folder, tmp_path / "auto", batch=None))
    two = pictures(tmp_path / "two")
    for other in ("five", "auto"):
        images = pictures(tmp_path / other)
        assert two.keys() == images.keys()
        for name in two:
            a, b = (read_image(tmp_path / x / name) for x in ("two", other))
            assert np.abs(a - b).max() < 1.01 / 127.5


def test_a_second_run_restores_only_what_is_missing(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run(job(folder, out))
    before = pictures(out)
    monkeypatch.setattr(job_module, "compile_group", None)
    again = run(job(folder, out))
    assert (again.restored, again.skipped, first.restored) == (0, 7, 7)
    monkeypatch.undo()
    (out / "1.png").unlink()
    (out / "3.png").write_bytes(before["3.png"][:-5])
    save(folder / "2.png", seed=99)
    with pytest.raises(ValueError, match=r"3\.png exists; --overwrite replaces it"):
        run(job(folder, out))
    third = run(job(folder, out, overwrite=True))
    assert (third.restored, third.skipped) == (3, 4)
    after = pictures(out)
    assert after.pop("2.png") != before.pop("2.png") and after == before


@pytest.mark.parametrize("moments", [(1, 3), (2, 4), (0,)])
def test_a_killed_job_resumes_with_the_same_result(folder, tmp_path, moments):
    """Killed once that many pictures are written."""
    out = tmp_path / "out"
    for moment in moments:
        process = start(folder, out, 0.3)
        while len(pictures(out)) < moment or not out.exists():
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    halves = out / "manifest/unfinished-7"
    halves.mkdir(exist_ok=True)
    (halves / "4.png").write_bytes(b"half")
    run(job(folder, out))
    whole = run(job(folder, tmp_path / "whole"))
    assert whole.restored == 7
    assert pictures(out) == pictures(tmp_path / "whole")
    inputs = [line["input"] for line in lines(out) if not line["error"]]
    assert len(set(inputs)) == 7 and not leftovers(out)


def test_ctrl_c_keeps_finished_pictures(folder, tmp_path):
    def interrupt(done, count):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job(folder, tmp_path / "out", progress=interrupt))
    done = lines(tmp_path / "out")
    assert len(done) == len(pictures(tmp_path / "out")) > 0
    assert run(job(folder, tmp_path / "out")).skipped == len(done)


def test_broken_pictures_cost_a_line_each(folder, tmp_path):
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) - 80])
    (folder / "zero.png").write_bytes(b"")
    remarks = []
    summary = run(job(folder, tmp_path / "out", remark=remarks.append))
    assert (summary.restored, summary.failed) == (6, 2)
    errors = {x["input"]: x["error"] for x in lines(tmp_path / "out") if x["error"]}
    assert "cannot be decoded" in errors["1.png"]
    assert "not a picture" in errors["zero.png"]
    assert any(line.startswith("zero.png: ") for line in remarks)
    (folder / "1.png").write_bytes(whole)
    again = run(job(folder, tmp_path / "out"))
    assert (again.restored, again.skipped, again.failed) == (1, 6, 1)
    run(job(folder, tmp_path / "whole"))
    assert pictures(tmp_path / "out") == pictures(tmp_path / "whole")


def test_results_that_are_not_finite_cost_a_line_each(folder, tmp_path):
    broken = from_denoiser(lambda x, t: x / (t - 499.0) * np.inf)
    changed = job(folder, tmp_path / "out")
    summary = run(changed.__class__(**vars(changed) | {"prior": broken}))
    assert (summary.restored, summary.failed) == (0, 7)
    error = lines(tmp_path / "out")[0]["error"]
    assert "not finite" in error and "(step 1 of " in error


def test_many_sizes_are_padded_to_few(tmp_path):
    for i in range(6):
        save(tmp_path / f"in/{i}.png", 9 + i, 11 + i, seed=i)
    padded = job(
        tmp_path / "in", tmp_path / "out", pad=16, request=request("denoise", 0.1)
    )
    summary = run(padded)
    assert (summary.restored, summary.compilations) == (6, 1)
    for line in lines(tmp_path / "out"):
        with Image.open(tmp_path / "out" / line["output"]) as picture:
            side = 9 + int(line["input"][0])
            assert picture.size == (side + 2, side) == (line["width"], line["height"])
    scored = job(
        tmp_path / "in",
        tmp_path / "scored",
        pad=16,
        request=request("super_resolution:2,box", simulate=True),
    )
    run(scored)
    for line in lines(tmp_path / "scored"):
        assert 5 < line["psnr"] < 60 and -1 < line["ssim"] <= 1


def test_operators_may_differ_from_file_to_file(tmp_path):
    for i in range(4):
        save(tmp_path / f"in/{i}.jpg", 16, 16, i, quality=30 + 10 * i, subsampling=0)
        mask = np.full((16, 16), 255, np.uint8)
        mask[i : i + 5] = 0
        save(tmp_path / f"photos/{i}.png", 16, 16, i)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"masks/{i}.png")
    save(tmp_path / "in/other.jpg", 16, 16, 9, quality=50, subsampling=2)
    summary = run(job(tmp_path / "in", tmp_path / "out", request=request("jpeg")))
    assert (summary.restored, summary.compilations) == (5, 2)
    task = f"inpaint:{tmp_path}/masks/{{stem}}.png"
    run(job(tmp_path / "photos", tmp_path / "filled", request=request(task)))
    for i in range(4):
        before, after = (
            read_image(tmp_path / place / f"{i}.png") for place in ("photos", "filled")
        )
        kept = np.ones(16, bool)
        kept[i : i + 5] = False
        np.testing.assert_array_equal(before[kept], after[kept])
        assert np.abs(before[~kept] - after[~kept]).max() > 0.1


def test_names_that_would_collide_are_kept_apart(tmp_path):
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/a.jpg", seed=1)
    run(job(tmp_path / "in", tmp_path / "out"))
    assert sorted(pictures(tmp_path / "out")) == ["a.jpg.png", "a.png.png"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"request": request("denoise:0")}, "needs the noise level"),
        ({"request": request("denoise | jpeg:9")}, "cannot be estimated"),
        ({"request": request("grayscale", steps=2000)}, "steps must be from 1"),
        ({"request": request("jpeg:9", 0.1)}, "quantises"),
        ({"batch": 0}, "--batch must be at least 1"),
        ({"pad": 0}, "--pad must be at least 1"),
        ({"pad": 8, "request": request("jpeg")}, "not for JPEG headers"),
    ],
)
def test_an_invalid_job_is_refused_before_anything_is_written(
    folder, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(job(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_unwritable_outputs_are_refused_before_computing(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is the input"):
        run(job(folder, folder))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to"):
        run(job(folder, tmp_path / "file"))
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(ValueError, match="need 0 MB or more"):
        run(job(folder, tmp_path / "out"))


def test_settings_cannot_be_mixed_in_one_folder(folder, tmp_path):
    run(job(folder, tmp_path / "out"))
    other = Request(TASK, sampler=Fitted(steps=4))
    with pytest.raises(ValueError, match="with sampler fitted:steps=3, not fitted:st"):
        run(job(folder, tmp_path / "out", request=other))


def fake(prior, count):
    """A program that needs 10 bytes and 3 more for each image."""
    return Sized(count, 10 + 3 * count)


class Sized(BatchProgram):
    """A program that has only a size."""

    def __new__(cls, count, device_bytes):
        return super().__new__(cls, count, device_bytes, *[None] * 5)


def with_memory(monkeypatch, memory, taken=0):
    """Pretend that devices have so many bytes, and that this process takes some."""
    place = "pigdm_jax.devices.memory"
    monkeypatch.setattr(f"{place}.device_memory", lambda devices: memory / devices)
    monkeypatch.setattr(f"{place}.host_memory_taken", lambda: taken)


@pytest.mark.parametrize("memory, count", [(1000, 8), (31.5 / 0.85, 7), (14 / 0.85, 1)])
def test_the_largest_batch_that_fits_is_found(monkeypatch, memory, count):
    with_memory(monkeypatch, memory)
    assert largest_batch(fake, GREY, 100, 1).program.count == count


def test_memory_counts_all_devices_and_what_the_process_takes(monkeypatch):
    with_memory(monkeypatch, 100e9, taken=9e9)
    giants = lambda prior, count: Sized(count, count * 10**10)  # noqa: E731
    fit = largest_batch(giants, GREY, 100, 2)
    assert fit.program.count == 3  # 0.85 x 100 GB less 9 GB, for two devices
    assert fit.remark == "batches of 3: 69.0 of 100.0 GB in all"


def test_a_picture_that_does_not_fit_is_refused(monkeypatch):
    with_memory(monkeypatch, 12)
    with pytest.raises(ValueError, match="restore it in windows"):
        largest_batch(fake, GREY, 100, 1)


def test_two_hosts_share_a_folder_and_a_batch(folder, tmp_path):
    """Two processes with two devices each, by jax.distributed."""
    port = 20000 + os.getpid() % 20000
    devices = " --xla_force_host_platform_device_count=2"
    flags = {"XLA_FLAGS": os.environ["XLA_FLAGS"] + devices}
    hosts = [start(folder, tmp_path / "out", 0, port, i, **flags) for i in range(2)]
    assert [host.wait(200) for host in hosts] == [0, 0]
    by = [lines(tmp_path / "out", process) for process in (0, 1)]
    assert not leftovers(tmp_path / "out")
    assert sorted(len(part) for part in by) == [3, 4]
    assert {x["input"] for x in by[0]}.isdisjoint(x["input"] for x in by[1])
    run(job(folder, tmp_path / "one"))
    one, two = pictures(tmp_path / "one"), pictures(tmp_path / "out")
    assert one.keys() == two.keys()
    for name in one:
        a, b = (read_image(tmp_path / x / name) for x in ("one", "out"))
        assert np.abs(a - b).max() < 1.01 / 127.5
    # A later run, by one process, reads both journals.
    assert run(job(folder, tmp_path / "out")).skipped == 7
    shards = [np.load(tmp_path / f"shards-{i}.npy") for i in range(2)]
    together = np.concatenate(shards).reshape(-1, 8, 8, 3)[:5]
    np.testing.assert_allclose(together, batch_over(make_mesh()), atol=1e-5)


def test_the_journal_of_a_perfect_restoration_is_strict_json(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    journal = Journal(tmp_path)
    journal.open(1)
    line = {"input": "a.png", "digest": "0", "error": None, "outputs": {}, "files": {}}
    journal.add({}, [line | {"psnr": float("inf"), "scores": {"": {"psnr": 1.5}}}])
    (file,) = journal.folder.glob("*.json")
    (saved,) = json.loads(file.read_text(), parse_constant=refuse)["pictures"]
    assert float(saved["psnr"]) == float("inf") and saved["scores"][""]["psnr"] == 1.5
    assert Journal(tmp_path).pictures["a.png"]["psnr"] == "Infinity"
