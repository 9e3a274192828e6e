"""Tables of papers: their files, and `pigdm reproduce` from images to the report."""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from documentation import ROOT, blocks
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.cli import main as cli
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.folder.job import run as run_job
from pigdm_jax.folder.plan import Job
from pigdm_jax.metrics import METRICS
from pigdm_jax.metrics.base import Summary
from pigdm_jax.pictures.parameters import read_parameter
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.squares import center_crop
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers import DDIM, parse
from pigdm_jax.tables.curves import write_curves
from pigdm_jax.tables.experiment import TableRun
from pigdm_jax.tables.labels import class_labels
from pigdm_jax.tables.measures import Choice, Scores, read_scores
from pigdm_jax.tables.originals import write_originals
from pigdm_jax.tables.plan import chosen_rows, plan_lines, plan_table
from pigdm_jax.tables.run import run_table
from pigdm_jax.tables.table import SHIPPED, find_table, read_table, table_names

TABLE = """
title = "A table of the tests"
paper = "Nobody, 2026"
data = "noise"
notes = ["a note"]
images = 3
crop = 16
sampler = "ddim:eta=1"

[[rows]]
name = "sr"
title = "2x"
task = "super_resolution:2,box"
steps = [2]

[[rows]]
name = "noisy"
task = "inpaint:center"
noise = 0.05
sampler = "fitted:steps=2"
[rows.published.Theirs]
evaluations = 7
psnr = 31.5
fid = 8.25
source = "a poster"
second_hand = true

[[rows]]
name = "phases"
title = "phase retrieval"
left_out = "there is no such operator"
"""


def save(path, height=20, width=24, seed=0):
    pixels = np.random.default_rng(seed).integers(60, 200, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def images(tmp_path):
    for i in range(4):
        save(tmp_path / f"images/{i}.png", seed=i)
    return tmp_path / "images"


@pytest.fixture
def table(tmp_path):
    (tmp_path / "mine.toml").write_text(TABLE)
    return tmp_path / "mine.toml"


@pytest.fixture(autouse=True, scope="module")
def kept(tmp_path_factory):
    """Programs are compiled once for all tests of this file."""
    place = tmp_path_factory.mktemp("kept")
    keep_compiled(str(place))
    yield place
    keep_compiled("none")


@pytest.fixture(scope="module")
def small_prior(tmp_path_factory):
    return saved_prior(tmp_path_factory.mktemp("prior") / "small")


@pytest.fixture(scope="module")
def classes_prior(tmp_path_factory):
    return saved_prior(tmp_path_factory.mktemp("prior") / "classes", 10)


def saved_prior(path, classes=None):
    """The folder of a small prior of random weights."""
    config = pj.UNetConfig(
        model_channels=32,
        channel_mult=(1,),
        num_res_blocks=1,
        attention_resolutions=(),
        num_classes=classes,
    )
    network, image = pj.UNet(config), jnp.zeros((1, 16, 16, 3))
    key, label = jax.random.key(0), classes and jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(network.init, key, image, jnp.zeros(1), label)["params"]
    leaves, kind = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    params = [
        0.1 * jax.random.normal(k, leaf.shape)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    pj.save_prior(path, network, jax.tree.unflatten(kind, params), "linear", {})
    return path


@pytest.fixture
def plan_of(small_prior):
    def plan(table, images, out, prior=small_prior, **options):
        options = {"batch": 1, "remark": lambda line: None} | options
        found = find_table(str(table))
        return plan_table(TableRun(found, str(prior), images, out, **options))

    return plan


def contents(out):
    """All files but the journals, which hold times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "manifest" not in path.parts
    }


# The files.


def test_shipped_tables_have_tasks_samplers_and_sources():
    tables = [find_table(name) for name in table_names()]
    for table in tables:
        assert table.title and table.paper and table.data and table.sources
        assert len({row.title for row in table.rows}) == len(table.rows)
    rows = [row for table in tables for row in table.rows]
    assert all(bool(row.left_out) != bool(row.task) for row in rows)
    assert all(published.source for row in rows for published in row.published)
    for sampler in {row.sampler for row in rows if not row.left_out}:
        assert parse(sampler).evaluations in range(2, 1001)
    for text in {row.task for row in rows if row.task}:
        task = Task.parse(text).within(SHIPPED)
        assert not task.denoises  # the noise has a key of its own
        assert task.operator((32, 32, 3), read_parameter).image_shape == (32, 32, 3)


def test_the_figures_are_those_that_were_collected(shared):
    text = (shared / "TABLES.md").read_text()
    for name in table_names():
        for row in find_table(name).rows:
            for published in row.published:
                figures = published.figures
                if "fid" in figures:
                    pair = f"{figures['fid']} / {figures['accuracy']}"
                    assert pair in text, (name, row.name, published)
                elif published.method != "DCDP":  # read in its source, as all of them
                    assert f"{figures['psnr']:.2f} / {published.evaluations}" in text


def test_a_file_for_each_group_of_tables():
    assert set(table_names()) == {
        *("pigdm-2", "pigdm-3", "pigdm-4", "pigdm-5", "pigdm-6-7", "pigdm-10-12"),
        *("pigdm-13", "lle-celeba", "lle-ffhq", "inversebench-ffhq"),
        *("daps-ffhq", "daps-imagenet"),
    }
    for path in SHIPPED.glob("*.toml"):
        tomllib.loads(path.read_text())
    steps = [row.sampler for row in chosen_rows(find_table("lle-ffhq"), ["sr4"])]
    assert steps == [f"ddim:steps={n},eta=1" for n in (3, 4, 5, 7, 10, 15)]


@pytest.mark.parametrize(
    "change, message",
    [
        (("crop = 16", "crop = 0"), "crop must be at least 1, got 0"),
        (("crop = 16", "crop = true"), "crop cannot be True"),
        (("images = 3", "pictures = 3"), "unknown key 'pictures'"),
        (("noise = 0.05", "noise = 1.5"), "noise must be from 0 to 1, got 1.5"),
        (("noise = 0.05", "loudness = 1"), "row noisy has an unknown key 'loudness'"),
        (('name = "noisy"', 'name = "sr-2"'), "two rows named sr-2"),
        (('name = "noisy"', 'name = "../up"'), "a row's name has small letters"),
        (("steps = [2]", "steps = [0]"), "steps cannot hold 0"),
        (('task = "inpaint:center"', ""), "row noisy lacks task"),
        (('sampler = "fitted:steps=2"', "steps = [2, 3]"), "one number of steps"),
        (('source = "a poster"', ""), "published Theirs lacks source"),
        (('title = "A table', "title = A"), "is no TOML file"),
        (("images = 3", 'pick = "best"'), "pick is first or spread"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    assert TABLE.count(change[0]) == 1
    path.write_text(TABLE.replace(*change))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_the_file_that_the_documentation_shows_is_right(tmp_path):
    page = ROOT / "docs/how-to/reproducing.md"
    (text,) = blocks(page, "toml")
    (tmp_path / "mine.toml").write_text(text)
    table = read_table(tmp_path / "mine.toml")
    names = [row.name for row in table.rows]
    assert names == ["holes", "blur-10", "blur-20", "blur-100"]
    assert all(f"`{name}`" in page.read_text() for name in table_names())


def test_files_of_a_task_lie_beside_the_table(tmp_path):
    task = Task.parse("blur:a.png,zero | inpaint:/b/{stem}.png").within(tmp_path)
    assert task.files == [f"{tmp_path}/a.png", "/b/{stem}.png"]
    assert Task.parse(str(task)) == task
    assert str(Task.parse("inpaint:center | blur:9").within(tmp_path)).startswith(
        "inpaint:center"
    )


# Running.


def test_a_table_runs_resumes_and_reports(plan_of, table, images, tmp_path):
    whole = run_table(plan_of(table, images, tmp_path / "whole"))
    assert [path.name for path in whole.files] == ["table.md", "table.csv", "sheet.png"]
    assert whole.failed == 0

    def interrupt(done, count):
        if done:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_table(plan_of(table, images, out, progress=interrupt))
    assert not (out / "table.md").exists()
    assert len(list((out / "restored").rglob("*.png"))) in (1, 2, 3)
    run_table(plan_of(table, images, out, rows=("noisy",)))
    partial = (out / "table.md").read_text()
    assert "| 2x, 2 evaluations" not in partial and "| noisy |" in partial
    run_table(plan_of(table, images, out))
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob(".*")) and not (out / "unfinished-0").exists()

    text = (out / "table.md").read_text()
    assert text.startswith("# A table of the tests\n")
    assert "|  | Theirs (1) | 7 |  | 31.5 |  | 8.25 |" in text
    assert "(1) second-hand: a poster" in text
    assert "phase retrieval is left out: there is no such operator" in text
    lines = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    theirs = {x["metric"]: x["value"] for x in lines if x["method"] == "Theirs"}
    assert theirs == {"psnr": "31.5", "fid": "8.25"}
    ours = [x for x in lines if x["row"] == "noisy" and x["method"] != "Theirs"]
    scores = read_scores(out / "scores/noisy.json")
    assert isinstance(scores, Scores) and scores.images == 3
    for line in ours:
        values = list(scores.per_image[line["metric"]].values())
        assert float(line["value"]) == pytest.approx(np.mean(values))
        error = np.std(values, ddof=1) / len(values) ** 0.5
        assert float(line["error"]) == pytest.approx(error)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 9 * 128 and sheet.height > 2 * 128


def test_entries_with_several_numbers_of_steps_are_drawn_as_curves(
    plan_of, table, images, tmp_path
):
    table.write_text(TABLE.replace("steps = [2]", "steps = [2, 20]"))
    plan = plan_of(table, images, tmp_path / "out")
    results = {
        row: Scores("", 3, {"psnr": Summary(psnr, 0.5), "own": Summary(1.0)}, {})
        for row, psnr in (("sr-2", 21.5), ("sr-20", 24.25), ("noisy", 30.0))
    }
    path = tmp_path / "curves.html"
    assert write_curves(path, plan, results)
    text = path.read_text()
    assert "<h1>A table of the tests</h1>" in text
    assert "<h2>PSNR</h2>" in text and "<h2>own</h2>" in text
    assert "sr: 21.5 at 2" in text and "sr: 24.25 at 20" in text
    assert "noisy" not in text
    path.unlink()
    assert not write_curves(path, plan, {"sr-2": results["sr-2"]})
    assert not path.exists()


def test_rows_are_degraded_and_restored_as_by_the_command(
    plan_of, table, images, tmp_path
):
    plan = plan_of(table, images, tmp_path / "out", rows=("noisy",), seed=5)
    (experiment,) = plan.chosen
    write_originals(
        experiment.entries, 16, experiment.originals, tmp_path / "out/unfinished"
    )
    for path in sorted(experiment.originals.glob("*.png")):
        with Image.open(images / path.name) as picture:
            square = center_crop(np.asarray(picture), 16)
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), square)
    # The tests of folders check what a job makes of a request.
    job = experiment.job(plan.run, plan.prior)
    assert (job.folder, job.labels) == (experiment.originals, None)
    request = Request(
        Task.parse("inpaint:center | denoise:0.05"),
        simulate=True,
        sampler=parse("fitted:steps=2"),
        prior=plan.run.prior,
        seed=5,
    )
    case, key = request.read(path)
    ours, our_key = job.request.read(path)
    np.testing.assert_array_equal(case.problem.y, ours.problem.y)
    assert case.problem.noise_std == ours.problem.noise_std == 0.1
    assert (jax.random.key_data(key) == jax.random.key_data(our_key)).all()
    assert str(job.request.sampler) == str(request.sampler)


def test_images_are_picked_first_or_spread_evenly(plan_of, table, tmp_path):
    for i in range(9):
        save(tmp_path / f"images/{i}.png", 16, 16, seed=i)
    spread = tmp_path / "spread.toml"
    spread.write_text(TABLE.replace("images = 3", 'images = 3\npick = "spread"'))
    for file, limit, names in (
        (table, None, "012"),
        (spread, None, "036"),
        (table, 2, "01"),
        (spread, 2, "03"),
    ):
        plan = plan_of(file, tmp_path / "images", tmp_path / "out", limit=limit)
        found = [entry.name for entry in plan.experiments[0].entries]
        assert found == [f"{name}.png" for name in names]


def test_what_will_run_is_said_first(plan_of, table, images, tmp_path):
    text = "\n".join(plan_lines(plan_of(table, images, tmp_path / "out", limit=2)))
    assert "2 images of 16 x 16 (the table's 3, of which 4 are here)" in text
    assert "noisy: inpaint:center, noise 0.05, fitted:steps=2" in text
    assert "phases is left out: there is no such operator" in text
    assert "in all 8 evaluations of the prior " in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rows": ("sr-3",)}, "has no row 'sr-3'; it has sr-2, noisy, phases"),
        ({"rows": ("phases",)}, "is left out: there is no such operator"),
        ({"size": 64}, "3 of 3 images are smaller than the crop of 64 x 64"),
        ({"metrics": ("beauty",)}, "beauty cannot be computed: there is no such"),
        ({"prior": "photos-65"}, "no prior 'photos-65'"),
    ],
)
def test_what_cannot_be_run_is_refused_before(
    plan_of, table, images, tmp_path, options, message
):
    with pytest.raises(ValueError, match=message):
        plan_of(table, images, tmp_path / "out", **{"limit": 4} | options)
    assert not (tmp_path / "out").exists()


def test_a_row_that_does_not_fit_stops_no_other(plan_of, table, images, tmp_path):
    table.write_text(TABLE + '[[rows]]\nname = "large"\ntask = "jpeg"\ncrop = 64\n')
    with pytest.raises(ValueError, match="smaller than the crop of 64 x 64"):
        plan_of(table, images, tmp_path / "out")
    plan = plan_of(table, images, tmp_path / "out", rows=("sr",))
    assert [experiment.row.name for experiment in plan.chosen] == ["sr-2"]


def test_a_broken_image_is_refused_before(plan_of, table, images, tmp_path):
    (images / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="a table needs all of its images"):
        plan_of(table, images, tmp_path / "out")


def test_runs_are_not_mixed_in_a_folder(plan_of, table, images, tmp_path):
    out, rows = tmp_path / "out", ("noisy",)
    run_table(plan_of(table, images, out, rows=rows))
    for options, message in (
        ({"seed": 1}, "another seed, 0 before and 1 now"),
        ({"limit": 2}, "another limit, None before and 2 now"),
    ):
        with pytest.raises(ValueError, match=message):
            run_table(plan_of(table, images, out, rows=rows, **options))
    save(images / "0a.png")
    with pytest.raises(ValueError, match="row noisy of other images"):
        run_table(plan_of(table, images, out, rows=rows))
    (images / "0a.png").unlink()
    table.write_text(TABLE.replace("noise = 0.05", "noise = 0.06"))
    with pytest.raises(ValueError, match="row noisy of other images or with other"):
        run_table(plan_of(table, images, out, rows=rows))
    table.write_text(TABLE.replace("31.5", "32.25"))
    run_table(plan_of(table, images, out, rows=rows))
    assert "32.25" in (out / "table.md").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").touch()
    with pytest.raises(ValueError, match=r"holds mine\.txt"):
        run_table(plan_of(table, images, tmp_path / "other", rows=rows))


# Class labels.


def test_a_folder_job_takes_the_class_of_each_picture(classes_prior, tmp_path):
    for i in range(3):
        save(tmp_path / f"in/{i}.png", 16, 16, seed=7)
    prior = pj.load_prior(classes_prior, label=0)
    request = Request(
        Task.parse("super_resolution:2"),
        simulate=True,
        sampler=DDIM(steps=2),
        prior=str(classes_prior),
        label=0,
    )
    labels = {"0.png": 3, "1.png": 8, "2.png": 3}
    job = Job(request, prior, tmp_path / "in", tmp_path / "out", labels=labels)
    job = dataclasses.replace(job, remark=lambda line: None)
    assert run_job(job).restored == 3
    found = []
    for i in range(3):
        case, key = request.read(tmp_path / f"in/{i}.png")
        own = prior.condition(label=labels[f"{i}.png"])
        key = jax.random.fold_in(key, 0)
        alone = restore_picture(own, case.problem, key, request.sampler)
        with Image.open(tmp_path / f"out/{i}.png") as written:
            found.append(np.asarray(written, int))
        assert np.abs(found[-1] - np.asarray(alone.pixels, int)).max() <= 1
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 1
    assert run_job(job).restored == 0
    other = dataclasses.replace(job, labels=labels | {"1.png": 4})
    assert run_job(other).restored == 1


def test_a_prior_with_classes_needs_labels(
    plan_of, classes_prior, table, images, tmp_path
):
    with pytest.raises(ValueError, match="needs the class of each image"):
        plan_of(table, images, tmp_path / "out", classes_prior)
    (tmp_path / "labels.txt").write_text("".join(f"{i}.png {i}\n" for i in range(4)))
    given = {"labels": tmp_path / "labels.txt", "rows": ("sr-2",)}
    plan = plan_of(table, images, tmp_path / "out", classes_prior, **given)
    assert plan.experiments[0].labels == {"0.png": 0, "1.png": 1, "2.png": 2}
    assert run_table(plan).failed == 0
    journal = next((tmp_path / "out/restored/sr-2/manifest").glob("*.json"))
    (line,) = json.loads(journal.read_text())["pictures"]
    assert line["label"] == int(line["input"][0])
    (tmp_path / "labels.txt").write_text("".join(f"{i}.png 99\n" for i in range(4)))
    with pytest.raises(ValueError, match="has 10 classes, and the labels go to 99"):
        plan_of(table, images, tmp_path / "out", classes_prior, **given)


SYNSETS = [f"n{10_000_000 + 7 * i:08}" for i in range(1000)]


def test_synset_folders_are_numbered_in_their_order(tmp_path):
    names = [f"{SYNSETS[i]}/a.JPEG" for i in (0, 999, 5)]
    for synset in SYNSETS:
        (tmp_path / synset).mkdir()
    assert list(class_labels(names, tmp_path).values()) == [0, 999, 5]
    (tmp_path / SYNSETS[3]).rmdir()
    with pytest.raises(ValueError, match=r"999 different synsets.*--classes"):
        class_labels(names, tmp_path)
    file = tmp_path / "synsets.txt"
    lines = [f"{synset} tench, Tinca tinca" for synset in reversed(SYNSETS)]
    file.write_text("\n".join(lines))
    found = class_labels(names, tmp_path, classes=file)
    assert found is not None and list(found.values()) == [0, 999, 5]
    with pytest.raises(ValueError, match="is not one of the 1000 synsets"):
        class_labels(["n00000001/a.png"], tmp_path, classes=file)
    assert class_labels(["a.png", names[0]], tmp_path) is None


def test_labels_from_files(tmp_path):
    names = ["val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000002.JPEG"]
    for name in names:
        save((tmp_path / "images" / name).with_suffix(".png"))
    names = [name.replace("JPEG", "png") for name in names]
    labels, classes = tmp_path / "labels.txt", tmp_path / "classes.txt"
    classes.write_text("\n".join(SYNSETS))

    def found(text):
        labels.write_text(text)
        known = class_labels(names, tmp_path / "images", labels, classes)
        assert known is not None
        return [known[name] for name in names]

    stem = "ILSVRC2012_val_0000000"
    assert found(f"{stem}1.JPEG 65\n{stem}2.JPEG 970\n") == [65, 970]
    kaggle = f"ImageId,PredictionString\n{stem}2,{SYNSETS[9]} 85 1\n"
    assert found(f"{kaggle}{stem}1,{SYNSETS[1]} 1 2 3 4 {SYNSETS[1]} 5") == [1, 9]
    assert found(f"{SYNSETS[4]}\n{SYNSETS[2]}\n") == [4, 2]
    (tmp_path / "labels.json").write_text(json.dumps({f"{stem}{i}": i for i in (1, 2)}))
    given = class_labels(names, tmp_path / "images", tmp_path / "labels.json")
    assert given == dict(zip(names, (1, 2), strict=True))
    for text, message in (
        ("490\n361\n", "development kit"),
        (f"{SYNSETS[4]}\n", "1 lines without names"),
        (f"{stem}1.JPEG 65\n", f"no class for the image {re.escape(names[1])}"),
        (f"{stem}1.JPEG 1000\n", "has the line"),
        ("", "is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            found(text)


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["pigdm", "reproduce", *map(str, arguments)])
        try:
            cli.main()
            return capsys.readouterr().out
        except SystemExit as end:
            return end.code

    return call


def test_the_command_runs_a_shipped_table_on_the_shipped_prior(command, kept, tmp_path):
    for i in range(2):
        save(tmp_path / f"images/{i}.png", 40, 50, seed=i)
    text = command(
        *("lle-ffhq", "--rows", "sr4-3", "--size", 32, "--cache", kept),
        *("--prior", "photos-64", "--images", "images", "--out", "out"),
        *("--metrics", "psnr", "ssim"),
    )
    assert "in all 6 evaluations of the prior photos-64" in text
    assert (
        "| 4x average pooling, 3 evaluations | **pigdm_jax** | 3 | 2, 32 x 32" in text
    )
    assert "wrote out/sheet.png" in text and "nonlinear-blur is left out" in text


def test_the_command_lists_tables_and_rows(command):
    text = command("--list")
    assert all(name in text for name in table_names())
    text = command("daps-ffhq", "--list")
    assert "gaussian_blur:3" in text and "left out" in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "which table? There are daps-ffhq"),
        (("pigdm-1",), "no table 'pigdm-1': there are daps-ffhq"),
        (("no.toml",), "there is no file no.toml"),
        (("pigdm-2",), "--prior is needed to run table pigdm-2; the table's own is im"),
        (
            ("pigdm-2", "--prior", "photos-64"),
            "--images is needed to run table pigdm-2",
        ),
    ],
)
def test_missing_words_are_answered(command, arguments, message):
    assert message in command(*arguments)
    every = ("--prior", "photos-64", "--images", ".", "--out", "out")
    assert "--limit must be at least 1" in command("pigdm-2", *every, "--limit", 0)
    assert "holds no pictures" in command("pigdm-2", *every)


def test_metrics_have_the_names_that_tables_use():
    rows = [row for name in table_names() for row in find_table(name).rows]
    for row in rows:
        published = {key for p in row.published for key in p.figures}
        assert {*row.metrics, *published} <= METRICS.keys()


def test_what_a_metric_lacks_is_said_or_refused(monkeypatch):
    def obtain(entry, progress):
        asked.append(entry.name)
        raise ValueError("there is no connection")

    asked = []
    monkeypatch.setattr("pigdm_jax.metrics.networks.loading.obtain_files", obtain)
    choice, names = Choice(has_labels=False), ("psnr", "fid", "accuracy", "beauty")
    for _ in range(2):
        found = choice.measures(names, 2, required=False)
        assert found.names == ("psnr",) and list(found.missing) == list(names[1:])
    assert len(asked) == 1 and "connection" in found.missing["fid"]
    assert "--labels" in found.missing["accuracy"]
    with pytest.raises(ValueError, match="fid cannot be computed: there is no conn"):
        choice.measures(names, 2, required=True)


@pytest.mark.slow
def test_two_hosts_run_a_table_together(table, images, small_prior, kept, tmp_path):
    """Two processes, by jax.distributed; the first evaluates when both are done."""
    port = 20000 + (os.getpid() + 7) % 20000
    arguments = [
        *("reproduce", table, "--prior", small_prior, "--images", images, "--cache"),
        *(kept, "--batch", 1, "--coordinator", f"localhost:{port}", "--processes", 2),
    ]
    for out, processes in (("two", 2), ("one", 1)):
        words = [*map(str, arguments), "--out", str(tmp_path / out)]
        if processes == 1:
            words = words[: words.index("--coordinator")] + words[-2:]
        hosts = [
            subprocess.Popen(
                [sys.executable, "-m", "pigdm_jax.cli.main", *words]
                + ["--process", str(i)] * (processes > 1),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.DEVNULL,
            )
            for i in range(processes)
        ]
        assert [host.wait(300) for host in hosts] == [0] * processes
    assert (tmp_path / "two/table.md").exists()
    parts = [set(), set()]
    for file in (tmp_path / "two/restored/noisy/manifest").glob("*.json"):
        lines = json.loads(file.read_text())["pictures"]
        parts[int(file.stem[-1])] |= {line["input"] for line in lines}
    assert sorted(map(len, parts)) == [1, 2] and not parts[0] & parts[1]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
