"""Jobs that are killed; `kill_jobs.py` by hand kills many more."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_killed_job_ends_as_one_that_was_not():
    script = Path(__file__).with_name("kill_jobs.py")
    done = subprocess.run(
        [sys.executable, script, "--folders", "2", "--trainings", "0", "--seed", "7"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout
