"""Folders: what a job must not replace, and what counts as finished."""

import contextlib
import dataclasses
import json
import resource
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from folder_job import GREY, REQUEST, job
from PIL import Image

from pigdm_jax.core.locks import locked
from pigdm_jax.folder import plan
from pigdm_jax.folder.job import run
from pigdm_jax.folder.naming import name_outputs
from pigdm_jax.metrics import default_metrics
from pigdm_jax.pictures.outputs import suffixes, with_suffix
from pigdm_jax.pictures.report import report_on
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.task import Task


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 200, (8, 8, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def masks(place, names=("mask",), hole=2):
    place.mkdir(exist_ok=True)
    mask = np.full((8, 8), 255, np.uint8)
    mask[:hole] = 0
    for name in names:
        Image.fromarray(mask).save(place / f"{name}.png")


def tree(place):
    """All that is in a folder: the bytes of files, None for folders."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(place.rglob("*"))
    }


def pictures(out):
    return {
        name: data
        for name, data in tree(out).items()
        if not name.startswith("manifest") and data is not None
    }


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        save(tmp_path / f"in/{i}.png", i)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder and its finished job."""
    place = tmp_path_factory.mktemp("finished")
    for i in range(3):
        save(place / f"in/{i}.png", i)
    run(job(place / "in", place / "out"))
    return place


@pytest.fixture
def done(finished, tmp_path):
    """A copy of it."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(match, given):
    """The job is refused, and changes nothing."""
    before = tree(given.out.parent)
    with pytest.raises(ValueError, match=match):
        run(given)
    assert tree(given.out.parent) == before


DAMAGES = {
    "number": lambda file: file.write_text("7"),
    "null": lambda file: file.write_text("null"),
    "foreign": lambda file: file.write_text('{"name": "manifest", "icons": []}'),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "bytes": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "deep": lambda file: file.write_text("[" * 100_000),
    "lines of others": lambda file: file.write_text(
        json.dumps({"format": 1, "settings": {}, "pictures": [7]})
    ),
    "no outputs": lambda file: file.write_text(
        json.dumps(
            {
                "format": 1,
                "settings": {},
                "pictures": [{"input": "0.png", "digest": "", "error": None}],
            }
        )
    ),
    "folder": lambda file: (file.unlink(), file.mkdir()),
    "name": lambda file: file.rename(file.with_name("package.json")),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_journal_is_refused(done, how):
    DAMAGES[how](next((done / "out/manifest").iterdir()))
    refused("is damaged, or not a journal", job(done / "in", done / "out"))


def test_other_journals_are_refused(done):
    (done / "out/manifest.jsonl").write_text("{}\n")
    refused("of an older version", job(done / "in", done / "out"))
    (done / "other").mkdir()
    (done / "other/manifest").write_text("mine")
    refused("cannot write to", job(done / "in", done / "other"))


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_what_a_changed_mask_decides_is_restored_again(folder, tmp_path, kind):
    names = ("mask",) if kind == "shared" else ("0", "1", "2")
    place = tmp_path / "masks"
    masks(place, names)
    file = f"{place}/mask.png" if kind == "shared" else f"{place}/{{stem}}.png"
    request = dataclasses.replace(REQUEST, task=Task.parse(f"inpaint:{file}"))
    given = job(folder, tmp_path / "out", request=request)
    run(given)
    assert run(given).skipped == 3
    masks(place, names[:1], hole=4)
    again = run(given)
    assert (again.restored, again.skipped) == ((3, 0) if kind == "shared" else (1, 2))
    run(dataclasses.replace(given, out=tmp_path / "whole"))
    assert pictures(tmp_path / "out") == pictures(tmp_path / "whole")


@pytest.mark.parametrize(
    "name, value", [("version", "0.0.1"), ("content_digest", "0" * 64)]
)
def test_other_versions_and_priors_are_not_mixed(done, monkeypatch, name, value):
    monkeypatch.setattr(plan, name, lambda _: value)
    given = job(done / "in", done / "out")
    refused(f"restorations with .* not {value}; .*--overwrite", given)
    assert run(dataclasses.replace(given, overwrite=True)).restored == 3
    assert run(given).skipped == 3


def test_a_prior_may_lie_elsewhere(done):
    request = dataclasses.replace(
        REQUEST, prior=str(Path(plan.__file__).parents[1] / "weights/shipped/photos-64")
    )
    assert run(job(done / "in", done / "out", request=request)).skipped == 3


@pytest.mark.parametrize("what", ["stranger's", "edited"])
def test_what_a_job_did_not_write_is_replaced_only_if_asked_for(done, what):
    if what == "edited":
        save(done / "out/1.png", 99)
    else:
        shutil.rmtree(done / "out")
        save(done / "out/1.png", 99)
    given = job(done / "in", done / "out")
    refused(r"1\.png exists; --overwrite", given)
    restored = run(dataclasses.replace(given, overwrite=True)).restored
    assert restored == (1 if what == "edited" else 3)


def test_originals_in_the_output_folder_are_spared(folder):
    save(folder / "sub/0.png", 7)
    given = job(folder, folder / "sub", recursive=False, overwrite=True)
    refused("may be one of its pictures", given)
    inner = job(folder, folder / "restored")
    assert run(inner).restored == 4 and run(inner).skipped == 4


@pytest.mark.parametrize("file", ["out/{stem}.png", "out/1.png"])
def test_masks_in_the_output_folder_are_spared(folder, tmp_path, file):
    masks(tmp_path / "out", ("0", "1", "2"))
    task = Task.parse(f"inpaint:{tmp_path}/{file}")
    request = dataclasses.replace(REQUEST, task=task)
    refused(
        "a file that the task names",
        job(folder, tmp_path / "out", request=request, overwrite=True),
    )


def test_links_to_inputs_are_spared(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/1.png").hardlink_to(folder / "2.png")
    refused("is never replaced", job(folder, tmp_path / "out", overwrite=True))
    (tmp_path / "out/1.png").unlink()
    (tmp_path / "out/1.png").symlink_to(folder / "2.png")
    refused("is never replaced", job(folder, tmp_path / "out", overwrite=True))


def test_names_of_outputs_differ():
    def names(*inputs):
        return name_outputs([Path(name) for name in inputs])

    assert names("a.jpg", "b.png", "c/a.png") == ["a.png", "b.png", "c/a.png"]
    assert names("a.jpg", "a.png") == ["a.jpg.png", "a.png.png"]
    three = names("a.jpg", "a.jpg.png", "a.png")
    assert three == ["a.jpg.png", "a.jpg.png.png", "a.png.png"]
    assert names("a.jpg", "A.png") == ["a.jpg.png", "A.png.png"]


def test_pictures_whose_names_differ_in_case_alone_are_refused(folder, tmp_path):
    save(folder / "A.png")
    save(folder / "a.png")
    if len(list(folder.iterdir())) == 5:
        refused("would be the same file", job(folder, tmp_path / "out"))


def test_one_job_at_a_time(folder, tmp_path):
    out = tmp_path / "out"
    given = job(folder, out)
    place = out / "manifest"
    with locked(place):
        refused("another job is writing to", given)
    with locked(place, 0, 2), locked(place, 1, 2):
        refused("another job is writing to", given)
        with pytest.raises(ValueError, match="another job"), locked(place, 1, 2):
            pass
    assert not out.exists()


@contextlib.contextmanager
def files_limited(size):
    """No file may be longer: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_in_a_sentence_and_is_resumed(finished, folder, tmp_path):
    given = job(folder, tmp_path / "out")
    sizes = {len(data) for data in pictures(finished / "out").values()}
    for size in (10, max(sizes)):  # no picture fits; no journal
        with files_limited(size), pytest.raises(ValueError, match="cannot write"):
            run(given)
        assert not pictures(tmp_path / "out")
    assert run(given).restored == 3
    assert pictures(tmp_path / "out") == pictures(finished / "out")
    assert all(name.endswith(".json") for name in names(tmp_path / "out/manifest"))


def names(place):
    return [path.name for path in place.iterdir()]


def test_samples_are_those_of_a_picture_alone(folder, tmp_path):
    given = job(folder, tmp_path / "out", samples=3)
    assert run(given).restored == 3
    assert run(given).skipped == 3
    assert len(pictures(tmp_path / "out")) == 15
    for path in folder.iterdir():
        case, key = REQUEST.read(path)
        keys = [jax.random.fold_in(key, i) for i in range(3)]
        alone = [restore_picture(GREY, case.problem, k, REQUEST.sampler) for k in keys]
        outputs = report_on(case, alone, default_metrics()).outputs
        assert [output.suffix for output in outputs] == suffixes(3)
        for output in outputs:
            file = with_suffix(tmp_path / "out" / path.name, output.suffix)
            with Image.open(file) as written:
                off = np.asarray(written, float) - 127.5 * (
                    np.squeeze(output.picture) + 1
                )
            # A pixel may be on the boundary between two values; the map of deviations
            # is scaled by its largest one.
            limit = 8 if output.suffix == "std" else 1.01
            assert np.abs(off).max() <= limit
    (tmp_path / "out/1-mean.png").unlink()
    before = pictures(tmp_path / "out")
    assert run(given).restored == 1
    assert before.items() < pictures(tmp_path / "out").items()
