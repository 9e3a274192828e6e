"""Images in the spectrum of an operator."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.operators.base import Spectrum


class Coordinates(NamedTuple):
    """An image in an operator's spectrum, with what is left out of it.

    Attributes:
      measured: the coefficients.
      rest: the image without them.
    """

    measured: Any
    rest: Image


def split(spectrum: Spectrum, x: Image) -> Coordinates:
    """The coefficients of an image, and the part of it that has none."""
    measured = spectrum.analyse(x)
    return Coordinates(measured, x - spectrum.synthesise(measured))


def join(spectrum: Spectrum, parts: Coordinates) -> Image:
    """The image of such coordinates."""
    return spectrum.synthesise(parts.measured) + parts.rest


def noise_in_spectrum(spectrum: Spectrum, noise_std: Scalar) -> jax.Array:
    """sigma_y / s, the noise of each coefficient that H^+ y tells; inf where s is 0."""
    seen = spectrum.values > 0
    return jnp.where(seen, noise_std / jnp.where(seen, spectrum.values, 1), jnp.inf)
