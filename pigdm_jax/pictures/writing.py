"""Writing pictures."""

import os
from pathlib import Path

from PIL import Image as PillowImage

from pigdm_jax.core.types import Image
from pigdm_jax.pictures.levels import to_picture


def write_picture(path: str | Path, image: Image | PillowImage.Image) -> None:
    """Write an image in [-1, 1], or a Pillow one, atomically.

    The file is complete or absent, also after a power loss: it is synced to disk under
    a temporary name and then renamed.

    Raises:
      ValueError: if the file cannot be written, or its suffix is not a picture's.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        picture = image if isinstance(image, PillowImage.Image) else to_picture(image)
        picture.save(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)
