"""The end of a command that fails: one line, and a status.

Expected failures are wrong input, answered by a `ValueError` that this package raises,
and failures of the system: a full disk, a closed pipe, a missing permission, too little
memory. Everything else is a bug.
"""

import contextlib
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from pigdm_jax.core.sentences import expected
from pigdm_jax.core.text import printable

FAILED, BUG, INTERRUPTED = 1, 70, 130
# Of a bug, whose message may be a whole program.
LONGEST = 200


@contextlib.contextmanager
def failures_answered() -> Iterator[None]:
    """End the process with one line on stderr if the block fails.

    Raises:
      SystemExit: with status 1 after an expected failure, 70 after a bug, whose
        traceback is then in a file that the line names, 130 after Ctrl-C.
    """
    # Names of files may hold what a terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield
        if sys.stdout is not None:  # it is None if it was closed, `pigdm info >&-`
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Nobody reads, as in `pigdm info | head -1`. Python would fail again when it
        # flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        sentence = expected(error)
        if sentence is not None:
            sys.exit(f"pigdm: {printable(sentence)}")
        with contextlib.suppress(OSError):
            print(f"pigdm: {printable(report_bug(error))}", file=sys.stderr)
        sys.exit(BUG)


def report_bug(error: BaseException) -> str:
    """Write a report on a bug into a temporary file; a sentence that names it."""
    what = printable(f"{type(error).__name__}: {error}")[:LONGEST]
    said = f"this is a bug of pigdm, {what}"
    text = "\n".join(
        [
            f"command: {shlex.join(sys.argv)}",
            f"folder: {_working_folder()}",
            f"python: {sys.version}",
            f"platform: {platform.platform()}",
            *(f"{name}: {_version(name)}" for name in ("pigdm-jax", "jax", "jaxlib")),
            *(f"{name}: {_version(name)}" for name in ("numpy", "pillow", "flax")),
            "",
            *traceback.format_exception(error),
        ]
    )
    try:
        handle, path = tempfile.mkstemp(prefix="pigdm-bug-", suffix=".txt")
        with open(handle, "w", errors="backslashreplace") as file:
            file.write(text)
    except OSError as failure:
        return f"{said}; no report could be written: {failure.strerror}"
    return f"{said}; please report it, with the file {path}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        return str(error.strerror)
