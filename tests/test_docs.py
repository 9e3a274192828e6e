"""What the pages of the documentation tell a reader to type works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import ROOT, blocks, run_python

from pigdm_jax.cli.main import main

DOCS = ROOT / "docs"
ALL_PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# tests/test_readme.py runs the five-minute start.
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.md")
    if blocks(page, "python") and page.name != "start.md"
)


@pytest.mark.parametrize("page", PAGES)
def test_python_examples_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_python(DOCS / page)


def commands(pages=ALL_PAGES):
    """Every `pigdm` command line of the pages and of the README."""
    for page in pages:
        for block in blocks(page, "sh") + blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.rstrip(" &"), comments=True)
                if words and words[0] == "pigdm":
                    yield tuple(words[1:])


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))],
    ids=lambda page: page.name,
)
def test_commands_of_a_page_can_be_typed_in_order(page):
    """None writes a file that an earlier one wrote: it would be refused."""
    written = []
    for command, *words in commands([page]):
        if command in ("restore", "degrade") and Path(words[0]).suffix:
            default = f"{Path(words[0]).stem}-{command}d.png"
            out = words[words.index("--out") + 1] if "--out" in words else default
            written += [
                out,
                out.replace("-restored", "").replace(".png", "-figure.png"),
            ]
    assert sorted(set(written)) == sorted(written)


def help_of(*command):
    """The text that a command prints about itself."""
    run = subprocess.run(
        [sys.executable, "-m", "pigdm_jax.cli.main", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200"},
    )
    return run.stdout


def test_commands_have_the_flags_that_pages_show():
    shown = {}
    for command, *words in commands():
        flags = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
        names = (command, words[0]) if command == "prior" else (command,)
        shown.setdefault(names, set()).update(flags)
    first = {names[0] for names in shown}
    assert {"restore", "degrade", "train", "convert", "compile", "prior"} <= first
    for command, flags in shown.items():
        text = help_of(*command)
        for flag in flags:
            assert re.search(rf"{flag}\b", text), f"pigdm {command} has no {flag}"


def test_tasks_that_pages_show_degrade_a_photo(monkeypatch, tmp_path):
    simulated = {
        words[words.index("--task") + 1]
        for words in commands()
        if "--simulate" in words and words[1].endswith(".png")
    }
    assert len(simulated) > 10
    monkeypatch.chdir(tmp_path)
    photo = str(ROOT / "benchmarks" / "photos" / "coffee.png")
    for task in sorted(simulated):
        arguments = ["degrade", photo, "--task", task, "--out", "degraded.png"]
        monkeypatch.setattr(sys, "argv", ["pigdm", *arguments])
        main()
        assert (tmp_path / "degraded.png").exists(), task
        (tmp_path / "degraded.png").unlink()


def test_pictures_that_pages_show_exist():
    for page in DOCS.rglob("*.md"):
        for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / path).exists(), f"{page.name} shows {path}"


def test_pictures_are_small():
    assert sum(f.stat().st_size for f in DOCS.glob("pictures/*")) < 1.5e6
