"""Images in the coordinates of an operator's right singular vectors."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.operators.base import Spectrum


class Coordinates(NamedTuple):
    """An image in the coordinates of an operator's right singular vectors.

    Attributes:
      measured: the coefficients of the singular vectors.
      rest: the component of the image orthogonal to all of them, (H, W, C).
    """

    measured: Any
    rest: Image


def split(spectrum: Spectrum, x: Image) -> Coordinates:
    """The coordinates of an image."""
    measured = spectrum.analyse(x)
    return Coordinates(measured, x - spectrum.synthesise(measured))


def join(spectrum: Spectrum, parts: Coordinates) -> Image:
    """The image with the given coordinates; inverts `split`."""
    return spectrum.synthesise(parts.measured) + parts.rest


def noise_in_spectrum(spectrum: Spectrum, noise_std: Scalar) -> jax.Array:
    """sigma_y / d, the noise of each coefficient of H+ y; inf where d = 0."""
    seen = spectrum.values > 0
    return jnp.where(seen, noise_std / jnp.where(seen, spectrum.values, 1), jnp.inf)
