"""The page as the command serves it, in a process of its own.

Gradio leaves event loops and sockets to the garbage collector, which would make
warnings in the process of the tests.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Served(NamedTuple):
    """A page that is served: its address, and its temporary files."""

    address: str
    folder: Path


@contextlib.contextmanager
def served_page(folder: Path, *flags: str, **environment: str) -> Iterator[Served]:
    """Serve the page; when the command has ended, it must have left no file.

    Args:
      folder: an empty one, for temporary files.
      *flags: of `pigdm app`.
      **environment: variables of it.
    """
    command = [sys.executable, "-m", "pigdm_jax.cli.main", "app"]
    own = {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--no-warm", "--cache", "none", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | own | environment,
    ) as process:
        try:
            words = process.stdout.readline().split()
            assert words[::2] == ["open", "in", "browser"], words
            yield Served(words[1], folder)
        finally:
            process.terminate()
    assert list(folder.iterdir()) == []
