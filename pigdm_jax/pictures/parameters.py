"""Files that the parameters of operators name: masks, kernels, JPEG headers."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pigdm_jax.pictures.jpeg_files import read_jpeg_header
from pigdm_jax.pictures.opening import opened


def read_mask(path: str | Path) -> Float[np.ndarray, "H W"]:
    """Read a mask: 1 (keep) where it is light, 0 (fill in) where it is dark.

    Raises:
      ValueError: if the file is missing or no picture, or hides no pixel or all.
    """
    with opened(path) as picture:
        mask = np.asarray(picture.convert("L")) >= 128
    if mask.all() or not mask.any():
        kept = "everything" if mask.all() else "nothing"
        raise ValueError(
            f"the mask {path} keeps {kept}: paint black the pixels to fill in, white "
            "the pixels to keep"
        )
    return mask.astype(np.float32)


def read_kernel(path: str | Path) -> Float[np.ndarray, "kh kw"]:
    """Read a blur kernel from a grey picture and scale it to sum 1.

    Raises:
      ValueError: if the file is missing, no picture, or entirely black.
    """
    with opened(path) as picture:
        kernel = np.asarray(picture.convert("L"), np.float64)
    if not kernel.any():
        raise ValueError(f"the kernel {path} is entirely black")
    return kernel / kernel.sum()


def read_parameter(kind: str, path: str) -> Any:
    """Read a file that a parameter of an operator names; for `operators.parse`.

    Args:
      kind: "mask", "kernel" or "JPEG".
      path: the file.

    Raises:
      ValueError: as `read_mask`, `read_kernel` or `read_jpeg_header`.
    """
    readers = {"mask": read_mask, "kernel": read_kernel, "JPEG": read_jpeg_header}
    return readers[kind](path)
