"""What a JPEG file says of its compression, and its coefficients."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import JpegImagePlugin

from pigdm_jax.pictures.opening import ORIENTATION, opened


class JpegHeader(NamedTuple):
    """How a JPEG file was compressed.

    Attributes:
      tables: luma and chroma quantisation steps, vertical frequency first.
      subsampling: "4:4:4", "4:2:2" or "4:2:0".
    """

    tables: tuple[Int[np.ndarray, "8 8"], Int[np.ndarray, "8 8"]]
    subsampling: str


def read_jpeg_header(path: str | Path) -> JpegHeader:
    """Read the compression parameters of a JPEG file; a grey one counts as 4:4:4.

    Raises:
      ValueError: if the file is missing or no JPEG file, or has a block layout that
        `pigdm_jax.operators.jpeg_codec` does not support.
    """
    with opened(path) as picture:
        if picture.format != "JPEG":
            raise ValueError(
                f"{path} is no JPEG file, so its header gives no quality; write it in "
                "the task, for example jpeg:10"
            )
        if picture.getexif().get(ORIENTATION, 1) != 1:
            raise ValueError(
                f"{path} is rotated by its EXIF tag; rotate its blocks without loss "
                "first, for instance by jpegtran"
            )
        quantization: dict[int, list[int]] = getattr(picture, "quantization", {})
        tables = [np.reshape(t, (8, 8)) for t in quantization.values()]
        if picture.mode == "L":
            return JpegHeader((tables[0], tables[0]), "4:4:4")
        sampling = JpegImagePlugin.get_sampling(picture)
        if picture.mode != "RGB" or sampling not in (0, 1, 2):
            raise ValueError(
                f"{path} has a colour layout that is neither 4:4:4, 4:2:2 nor 4:2:0"
            )
        return JpegHeader(
            (tables[0], tables[-1]), ("4:4:4", "4:2:2", "4:2:0")[sampling]
        )


def read_jpeg_coefficients(
    path: str | Path,
) -> tuple[Float[np.ndarray, "rows columns 8 8"], ...] | None:
    """Read the quantised coefficients in a JPEG file: luma, and chroma if it has any.

    Returns None without jpeglib (`pip install 'pigdm-jax[jpeg]'`).
    """
    try:
        import jpeglib
    except ImportError:
        return None
    file = jpeglib.read_dct(str(path))
    planes = [file.Y] if file.Cb is None else [file.Y, file.Cb, file.Cr]
    return tuple(np.asarray(plane, np.float32) for plane in planes)
