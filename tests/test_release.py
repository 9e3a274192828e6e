"""What a release contains agrees with the source; `.ci/release` builds a release."""

import csv
import re
import tomllib
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

from pigdm_jax.cli.main import main
from pigdm_jax.weights.names import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_the_package_is_installed():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "pigdm_jax").rglob("*.py")
    }
    packages = PYPROJECT["tool"]["setuptools"]["packages"]
    assert sorted(folders | {"pigdm_convert"}) == sorted(packages)


def test_the_command_prints_the_version(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pigdm", "--version"])
    main()
    assert capsys.readouterr().out == f"pigdm {version('pigdm-jax')}\n"


@pytest.mark.parametrize("prior", [path.name for path in sorted(SHIPPED.iterdir())])
def test_every_training_photograph_has_a_licence(prior):
    card = (SHIPPED / prior / "README.md").read_text()
    with (SHIPPED / prior / "ATTRIBUTION.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["licence_as_stated"] for row in rows)
    # The card's table: | `collection` | photographs | ...
    stated = re.findall(r"^\| `(\w+)` \| (\d+) \|", card, re.MULTILINE)
    counted = Counter(row["photograph"].split("/")[0] for row in rows)
    assert {name: int(count) for name, count in stated} == counted
    assert f"All {len(rows)} come from" in card
