"""What the README and the five-minute start tell a reader to type works."""

import numpy as np
from documentation import ROOT, blocks, run_python


def test_python_examples_run(monkeypatch, tmp_path, capsys):
    page = "README.md"
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    assert len(blocks(ROOT / page, "python")) == 1
    assert blocks(ROOT / "docs/start.md", "python") == blocks(ROOT / page, "python")
    scope = run_python(ROOT / page)
    assert (tmp_path / "restored.png").exists()
    before, after = map(float, capsys.readouterr().out.split())
    assert after > before
    assert scope["image"].shape == (128, 128, 3)
    assert np.isfinite(scope["image"]).all()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
