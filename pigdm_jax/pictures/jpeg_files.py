"""What a JPEG file says of its compression, and its coefficients."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import Image as PillowImage
from PIL import JpegImagePlugin

from pigdm_jax.pictures.metadata import orientation
from pigdm_jax.pictures.opening import opened


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
      ValueError: if the file is missing or no JPEG file, is to be turned, or has
        colours, tables or a block layout that `pigdm_jax.operators.jpeg_codec` does not
        support.
    """
    with opened(path) as (picture, _):
        if picture.format not in ("JPEG", "MPO"):  # MPO: a phone's, which has two
            raise ValueError(
                f"{path} is no JPEG file, so its header gives no quality; write it in "
                "the task, for example jpeg:10"
            )
        if orientation(picture) != 1:
            raise ValueError(
                f"{path} is rotated by its EXIF tag; rotate its blocks without loss "
                "first, for instance by jpegtran"
            )
        layers, tables = _layers(path, picture)
        if picture.mode == "L":
            return JpegHeader((tables[0], tables[0]), "4:4:4")
        if picture.mode != "RGB" or _holds_rgb(picture.info, layers):
            kind = "RGB" if picture.mode == "RGB" else picture.mode
            raise ValueError(
                f"{path} is a JPEG file whose blocks hold {kind} colours, not YCbCr; "
                "write the task with a quality, for example jpeg:40"
            )
        sampling = JpegImagePlugin.get_sampling(picture)
        if sampling not in (0, 1, 2):
            raise ValueError(
                f"{path} has a colour layout that is neither 4:4:4, 4:2:2 nor 4:2:0"
            )
        if (tables[1] != tables[2]).any():
            raise ValueError(
                f"{path} has different quantisation tables for Cb and Cr, which is not "
                "supported; write the task with a quality, for example jpeg:40"
            )
        return JpegHeader((tables[0], tables[1]), ("4:4:4", "4:2:2", "4:2:0")[sampling])


def _layers(
    path: str | Path, picture: PillowImage.Image
) -> tuple[list[tuple[int, ...]], list[Int[np.ndarray, "8 8"]]]:
    """The colour components of a JPEG file, and the table of each.

    Raises:
      ValueError: if a table is not in the header.
    """
    layers: list[tuple[int, ...]] = getattr(picture, "layer", [])
    tables: dict[int, list[int]] = getattr(picture, "quantization", {})
    if any(table not in tables for *_, table in layers):
        raise ValueError(
            f"{path} has quantisation tables behind its header, which is not supported;"
            " write the task with a quality, for example jpeg:40"
        )
    return layers, [np.reshape(tables[table], (8, 8)) for *_, table in layers]


def _holds_rgb(info: dict[Any, Any], layers: list[tuple[int, ...]]) -> bool:
    """Whether three components are RGB, by the rule of libjpeg."""
    if "jfif" in info:
        return False
    if "adobe_transform" in info:
        return info["adobe_transform"] == 0
    return "".join(chr(layer[0]) for layer in layers) == "RGB"


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
