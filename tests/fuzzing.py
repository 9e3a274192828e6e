"""Runs a fuzzing script in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def fuzzed(script: str) -> subprocess.CompletedProcess:
    """The end of a script of this folder after 8 seconds with seed 0."""
    return subprocess.run(
        [sys.executable, Path(__file__).with_name(script), "8", "0"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
