"""A disk that becomes full: one sentence, no temporary file, and the job goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kill_jobs import leftovers, results, save_pictures

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
JOB = """
import sys
from pathlib import Path
import kill_jobs
from pigdm_jax.cli.failures import failures_answered
from pigdm_jax.training import checkpoints
kind = sys.argv[1]
if kind == "unforeseen":  # another process may take the space meanwhile
    kind, checkpoints.check_space = "train_run", lambda *args: None
with failures_answered():
    getattr(kill_jobs, kind)(*map(Path, sys.argv[2:]))
"""
PAGE = 4096


@pytest.fixture
def disk(tmp_path):
    """A small disk, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or os.geteuid():
        pytest.skip("only root can mount a disk")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def run(kind, *folders):
    """A job in a process of its own: (status, what it said of its failure)."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, kind, *map(str, folders)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        check=False,
    )
    return done.returncode, done.stderr


# Pages that are left. A folder job fails with its journal, and with its last picture.
# A training run has no space for its first checkpoint, and for its second one; or fails
# in the midst of one.
LEVELS = {"restore": (8, 12), "train_run": (8, 730), "unforeseen": (300,)}


@pytest.mark.parametrize("kind", LEVELS)
def test_a_job_goes_on_when_there_is_space_again(kind, disk, tmp_path):
    save_pictures(tmp_path / "in", 9)
    assert run(kind, tmp_path / "in", tmp_path / "whole") == (0, "")
    whole = results(tmp_path / "whole")
    for pages in LEVELS[kind]:
        out, ballast = disk / "out", disk / "ballast"
        free = shutil.disk_usage(disk).free
        ballast.write_bytes(bytes(free - pages * PAGE))
        status, text = run(kind, tmp_path / "in", out)
        assert status == 1 and text.startswith("pigdm: ") and text.count("\n") == 1
        assert "No space left on device" in text or "on the disk" in text
        assert not leftovers(out)
        ballast.unlink()
        assert run(kind, tmp_path / "in", out) == (0, "")
        assert results(out) == whole and not leftovers(out)
        shutil.rmtree(out)
