"""What lies at a path: only files and folders are ever read."""

import os
import stat
from pathlib import Path

from pigdm_jax.core.checks import given


def check_path(path: str | Path) -> None:
    """Refuse what is no path.

    Raises:
      TypeError: if it is none.
    """
    # Numbers would be file descriptors.
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a path must be a str or os.PathLike, got {given(path)}")


def check_readable(path: str | Path) -> None:
    """Refuse a path where there is neither a file nor a folder.

    A pipe or a device, such as /dev/stdin or /dev/zero, may have no end.

    Raises:
      TypeError: if it is no path.
      ValueError: if there is nothing, or something else, or it cannot be looked at.
    """
    check_path(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        to = f"{path} is a link to nothing" if os.path.islink(path) else None
        raise ValueError(to or f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be read: {reason}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} is neither a file nor a folder, but a pipe or device")


def check_name_fits(path: Path) -> None:
    """Refuse a path that is too long for the file system, before work is done for it.

    Raises:
      ValueError: if it is.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ValueError(
            f"{path.name[:40]}... cannot be written: {error.strerror}"
        ) from None
