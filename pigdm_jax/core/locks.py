"""One job at a time in an output folder, or at any other piece of work."""

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(folder: Path, process: int = 0, processes: int = 1) -> Iterator[None]:
    """Make an output folder, and keep other jobs out of it.

    All processes of one job hold one lock together, and each holds one of its own. The
    system releases them when a process ends, however it ends. Nothing is left if
    nothing was written. File systems without locks are not guarded.

    Args:
      folder: for the locks, in the output folder; made if there is none.
      process: index of this process in its job.
      processes: number of processes of the job.

    Raises:
      ValueError: if another job is at work there, or nothing can be written there.
    """
    out = folder.parent
    is_new = not out.exists()
    how = fcntl.LOCK_SH if processes > 1 else fcntl.LOCK_EX
    with contextlib.ExitStack() as stack:
        if is_new:
            stack.callback(_remove_empty, out)
        stack.callback(_remove_empty, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, kind in (("lock", how), (f"lock-{process}", fcntl.LOCK_EX)):
                stack.enter_context(_held(folder / name, kind))
        except BlockingIOError:
            raise ValueError(
                f"another job is writing to {out}; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise ValueError(f"cannot write to {out}: {error.strerror}") from None
        yield


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it.

    The system releases it when a process ends, however it ends. File systems without
    locks are not guarded.

    Args:
      path: of the lock, in an existing folder; a file that is removed afterwards.
      waiting: called once if another process holds it.

    Raises:
      OSError: if nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        for attempt in itertools.count():
            try:
                stack.enter_context(_held(path, fcntl.LOCK_EX))
                break
            except BlockingIOError:
                if not attempt:
                    waiting()
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def _held(path: Path, kind: int) -> Iterator[None]:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, kind)
        except OSError:
            os.close(handle)
            raise
        # The file may have been removed between these two lines.
        if _is_at(handle, path):
            break
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # The last one removes the file.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int, kind: int) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # this file system has no locks


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
