"""Files that the parameters of operators name: masks, kernels, JPEG headers."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.jpeg_files import read_jpeg_header
from pigdm_jax.pictures.levels import from_levels

# Luma, for a kernel in colour.
LUMA = np.array([0.299, 0.587, 0.114])


def read_mask(path: str | Path) -> Float[np.ndarray, "H W"]:
    """Read a mask: 1 (keep) or 0 (fill in).

    A pixel is kept where red, green and blue are all at least half of white, and it is
    opaque. So dark and strong colours and what was erased are filled in; white and pale
    colours are kept.

    Raises:
      ValueError: if the file is missing or no picture, or hides no pixel or all.
    """
    decoded = decode(path)
    # The values of the file, without its profile: a mask is no photo.
    mask = (from_levels(decoded.pixels) >= 0).all(axis=-1)
    if decoded.alpha is not None:
        mask &= from_levels(decoded.alpha) >= 0
    if mask.all() or not mask.any():
        kept = "everything" if mask.all() else "nothing"
        raise ValueError(
            f"the mask {path} keeps {kept}: paint black, or erase, the pixels to fill "
            "in, and white, not transparent, the pixels to keep"
        )
    return np.asarray(mask, np.float32)


def read_kernel(path: str | Path) -> Float[np.ndarray, "kh kw"]:
    """Read a blur kernel from a grey picture and scale it to sum 1.

    Transparent pixels count as black, colours as their luma.

    Raises:
      ValueError: if the file is missing, no picture, or entirely black.
    """
    decoded = decode(path)
    weights = np.ones(1) if decoded.grey else LUMA
    kernel: np.ndarray = decoded.pixels @ weights
    if decoded.alpha is not None:
        kernel = kernel * decoded.alpha
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
