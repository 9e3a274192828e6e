"""Reading pictures in the colours of sRGB."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.kept import show
from pigdm_jax.pictures.levels import from_levels


def read_image(path: str | Path) -> Float[np.ndarray, "H W 3"]:
    """Read a picture as a colour image in [-1, 1].

    It is turned upright and converted to sRGB, colours outside of which are clipped;
    transparent pixels are blended with white. PNG and TIFF files of 16 bits are read
    with all of them.

    Raises:
      ValueError: if the file is missing, is no picture that can be read, or holds
        several.
    """
    decoded = decode(path)
    image = np.clip(show(decoded, convert=True).picture, -1, 1)
    if decoded.alpha is None:
        return image
    opaque = (from_levels(decoded.alpha)[..., None] + 1) / 2
    return image * opaque + (1 - opaque)
