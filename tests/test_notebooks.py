"""The notebooks in docs/examples run as they stand."""

import json

import pytest
from documentation import ROOT

matplotlib = pytest.importorskip("matplotlib", reason="the notebooks plot")
matplotlib.use("Agg")

EXAMPLES = ROOT / "docs" / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    scope = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] == "code":
            code = compile(
                "".join(cell["source"]), f"{notebook.name}, {number}", "exec"
            )
            exec(code, scope)
    scope["plt"].close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_its_output(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not any(out["output_type"] == "error" for out in outputs)
    assert notebook.stat().st_size < 2e5


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5
