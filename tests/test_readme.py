"""What the README and the five-minute start tell a reader to type works."""

import numpy as np
from documentation import ROOT, blocks, run_python


def test_the_python_example_runs(monkeypatch, tmp_path, capsys):
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    (readme,), (start,) = (
        blocks(ROOT / page, "python") for page in ("README.md", "docs/start.md")
    )
    assert readme.strip() == start.strip()
    scope = run_python(ROOT / "README.md")
    assert (tmp_path / "restored.png").exists()
    before, after = map(float, capsys.readouterr().out.split())
    assert after > before
    assert scope["image"].shape == (128, 128, 3)
    assert np.isfinite(scope["image"]).all()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
