"""What the README tells a reader to type works as it stands."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def test_python_examples_run(monkeypatch, tmp_path, capsys):
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in blocks:
        # Fewer evaluations and no other change.
        exec(re.sub(r"steps=\d+", "steps=2", block), scope)
    assert (tmp_path / "restored.png").exists()
    assert len(capsys.readouterr().out.split()) == 2
    assert scope["images"].shape == (2, 128, 128, 3)
    assert np.isfinite(scope["images"]).all()
