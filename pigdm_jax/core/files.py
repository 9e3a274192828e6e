"""Small files that are written whole or not at all, and strict JSON."""

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

from pigdm_jax.core.paths import check_name_fits

LONGEST = 2**22  # number of a process, at most


def check_name_writable(path: Path) -> None:
    """Refuse a name that is too long for `write_whole`, before work is done for it.

    Raises:
      ValueError: if it is.
    """
    check_name_fits(_temporary(path, LONGEST))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Args:
      path: of the file; one that exists is replaced.
      content: of the file.

    Raises:
      ValueError: if it cannot be written.
    """
    temporary = _temporary(path, os.getpid())
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary(path: Path, process: int) -> Path:
    return path.with_name(f".{path.name}.{process}.tmp")


def json_text(value: Any) -> str:
    r"""A value as lines of JSON, which has no infinite numbers: they are "Infinity".

    An image that equals its reference has an infinite PSNR.

    Examples:
      >>> json_text({"psnr": float("inf")})
      '{\n "psnr": "Infinity"\n}\n'
    """
    return json.dumps(_strict(value), indent=1, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    """A value with text for its infinite numbers."""
    match value:
        case dict():
            return {key: _strict(item) for key, item in value.items()}
        case list() | tuple():
            return [_strict(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value).replace("inf", "Infinity")
    return value
