"""Writing to a disk that may be too small or fail; imports no JAX."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_space(folder: Path, needed: int, what: str, hint: str = "") -> None:
    """Refuse a disk that is too small, before anything is written.

    Args:
      folder: where something will be written; it need not exist.
      needed: bytes of it.
      what: its name, for the error.
      hint: what can be done, for the error.

    Raises:
      ValueError: if the disk has fewer bytes left.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"{what} needs {readable(needed)} on the disk, and {there} has "
            f"{readable(free)} left{hint and f'; {hint}'}"
        )


def readable(size: int) -> str:
    """A number of bytes for people.

    Examples:
      >>> readable(2211383297), readable(374417833), readable(12)
      ('2.21 GB', '374.4 MB', '12 bytes')
    """
    for unit, name, digits in ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 1)):
        if size >= unit:
            return f"{size / unit:.{digits}f} {name}"
    return f"{size} bytes"


def reason(error: Exception) -> str:
    """What the system said of a failed write, in an error of any library.

    TensorStore, which writes the arrays of a checkpoint, raises a ValueError of many
    lines that contains the number of the system's error.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(number[1])) if number else type(error).__name__


@contextmanager
def orbax_writes(path: Path) -> Iterator[None]:
    """A block in which Orbax writes; its failure is one error, and logged nowhere.

    Raises:
      OSError: if the block fails, with what the system said and `path`.
    """
    logger = logging.getLogger("absl")
    before = logger.disabled
    logger.disabled = True  # its threads log what they raise, with tracebacks
    try:
        yield
    except Exception as error:
        raise OSError(errno.EIO, reason(error), str(path)) from None
    finally:
        logger.disabled = before


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` if the block succeeds, else is deleted."""
    # Orbax saves a checkpoint atomically, but `prior.json` contains the digests of its
    # files, so it is written after them and both must appear together. Orbax's JSON
    # handler fixes the name of its file and writes it with the arrays; its
    # `AtomicRenameTemporaryPath` is asynchronous, adds a file and leaves the temporary
    # folder behind after an error.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
