"""Small files that are written whole or not at all, and strict JSON."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Args:
      path: of the file; one that exists is replaced.
      content: of the file.

    Raises:
      ValueError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def strict_json(value: Any) -> Any:
    """A value whose infinite numbers, which JSON lacks, are text: "Infinity".

    An image that equals its reference has an infinite PSNR.

    Examples:
      >>> strict_json({"psnr": [30.5, float("inf")]})
      {'psnr': [30.5, 'Infinity']}
    """
    match value:
        case dict():
            return {key: strict_json(item) for key, item in value.items()}
        case list() | tuple():
            return [strict_json(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value).replace("inf", "Infinity")
    return value
