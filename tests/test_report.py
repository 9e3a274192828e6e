"""`pigdm evaluate`: its table, its files and its page."""

import csv
import json
import math
import re
from html.parser import HTMLParser

import pytest
from test_evaluation import write

from pigdm_jax.metrics import Summary, evaluate_folders
from pigdm_jax.metrics.charts import curves, histogram, ticks
from pigdm_jax.metrics.report import write_report
from pigdm_jax.metrics.results import read_labels


@pytest.fixture
def folders(tmp_path):
    """Pictures of one equal pair and four others, one with a name for a browser."""
    names = ["a.png", "b.png", "c.png", "d<b>&.png", "e.png"]
    for i, name in enumerate(names):
        write(tmp_path / "restored", name, seed=i)
        write(tmp_path / "clean", name, seed=10 * i)
    return tmp_path / "restored", tmp_path / "clean"


class Page(HTMLParser):
    """The tags of a page, their addresses and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ("src", "href", "data", "srcset", "action", "poster")
        self.addresses += [value for name, value in attributes if name in names]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_command_prints_and_writes_values(run, folders, tmp_path):
    files = [tmp_path / f"out.{suffix}" for suffix in ("html", "json", "csv")]
    flags = ["--report", files[0], "--json", files[1], "--csv", files[2]]
    status, text = run("evaluate", folders[0], "--reference", folders[1], *flags)
    assert status == 0, text
    assert "5 pictures" in text and "∞" in text and "SSIM" in text

    found = evaluate_folders(*folders)
    saved = json.loads(files[1].read_text())
    assert saved["count"] == 5 and saved["per_image"]["psnr"]["a.png"] == "Infinity"
    assert saved["summary"]["ssim"]["value"] == pytest.approx(
        found.summary["ssim"].value, rel=1e-6
    )
    with files[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["picture"] for row in rows] == list(found.per_image["ssim"])
    for row in rows:
        expected = found.per_image["psnr"][row["picture"]]
        assert float(row["psnr"]) == pytest.approx(expected, rel=1e-6)

    before = files[1].read_bytes()
    status, text = run("evaluate", folders[0], "--reference", folders[1], *flags[2:])
    assert status == 1 and "out.json exists; --overwrite" in text
    assert files[1].read_bytes() == before
    status, _ = run(
        "evaluate", folders[0], "--reference", folders[1], *flags[2:4], "--overwrite"
    )
    assert status == 0


def test_the_page_asks_for_nothing_and_escapes_names(folders, tmp_path):
    found = evaluate_folders(*folders)
    write_report(tmp_path / "page.html", found, "<title>")
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert not page.open and page.tags.count("svg") == 2
    assert (
        "script" not in page.tags and "link" not in page.tags and "b" not in page.tags
    )
    assert page.addresses and all(x.startswith("data:image/") for x in page.addresses)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "d<b>&.png" in page.text and "<title>" in page.text
    # Four of five pictures are among the best, four among the worst, for two metrics.
    assert page.tags.count("img") == 2 * 2 * 4 * 2
    assert "1 of 5 are infinite" in page.text


def test_a_metric_that_is_better_lower_has_its_worst_first(folders, tmp_path):
    found = evaluate_folders(*folders, ["ssim"])
    write_report(tmp_path / "page.html", found)
    page = Page((tmp_path / "page.html").read_text()).text
    names = sorted(found.per_image["ssim"], key=found.per_image["ssim"].get)
    assert page.index("Worst") < page.index(names[0]) < page.index(names[1])
    assert page.index("Best") > page.index(names[1])


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0], [0.0, 1e-9], [-5.0, 300.0] * 50, [math.inf]]
)
def test_histograms_of_any_values_are_finite(values):
    drawing = histogram(values, "x")
    assert "nan" not in drawing and "inf " not in drawing.replace("infinite", "")
    counts = [int(n) for n in re.findall(r"<title>(\d+) from", drawing)]
    assert sum(counts) == sum(map(math.isfinite, values))


@pytest.mark.parametrize("low, high", [(0, 1), (22.5, 33.8), (0.931, 0.934), (0, 3e4)])
def test_ticks_are_few_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert low - 1e-9 <= found[0] and found[-1] <= high + 1e-9


def test_curves_of_one_point_or_none():
    assert "nan" not in curves({"a": {10: Summary(3.0, 0.5)}}, "n", "y")
    assert "<svg" not in curves({"a": {10: Summary(math.inf)}}, "n", "y")


def test_wrong_arguments_of_the_command_are_one_sentence(run, folders, tmp_path):
    restored, clean = folders
    (tmp_path / "labels.json").write_text("[1]")
    for arguments, said in (
        ([restored], "psnr needs a folder of reference pictures"),
        ([restored, "--metrics", "mse"], "no metric 'mse'"),
        ([restored, "--batch", 0], "--batch must be a whole number"),
        ([restored, "--report", "a.txt"], "--report must be a .html file"),
        ([restored, "--json", "no/a.json"], "--json: there is no folder"),
        ([tmp_path / "none"], "there is no file"),
        ([restored, "--labels", tmp_path / "labels.json"], "must hold an object"),
        ([restored, "--reference", clean / "a.png"], "must be a folder of pictures"),
    ):
        status, text = run("evaluate", *arguments)
        assert status == 1 and said in text, text


def test_labels_come_from_a_json_object(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"a.png": 3}')
    assert read_labels(path) == {"a.png": 3}
    path.write_text("{")
    with pytest.raises(ValueError, match="is no JSON file"):
        read_labels(path)
