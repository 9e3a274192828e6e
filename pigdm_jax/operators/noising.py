"""Noise in the middle of a chain."""

from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.checks import check_one_number
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import PRNGKey
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Operator,
    check_image_shape,
    refuse_damping,
)


@pytree_class
class Noise(Operator):
    """Gaussian noise, drawn by `draw` alone; see `noise`."""

    std: Any
    image_shape: ImageShape = static_field()

    linear = False
    draws = True

    def apply(self, x: Image) -> Image:
        """The image itself, which is what is expected."""
        return x

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The image itself."""
        refuse_damping(damping)
        return y

    def draw(self, x: Image, key: PRNGKey) -> Image:
        """The image with noise."""
        return x + self.std * jax.random.normal(key, jnp.shape(x), jnp.float32)

    def nearest(self, x: Image, y: Image) -> Image:
        """The image x itself: with noise, any image may become y."""
        del y
        return x


def noise(image_shape: ImageShape, std: Any) -> Noise:
    """Gaussian noise that was added before what comes next in a chain.

    For instance `chain(noise(shape, 0.1), jpeg(shape, 30))`, a noisy photo that was
    saved as JPEG. `measure` draws the noise; `samplers.Relaxed` allows for it. For
    noise that comes last use `Problem.noise_std`.

    Args:
      image_shape: (height, width, channels) of the image.
      std: standard deviation in units of the [-1, 1] image, above 0.

    Returns:
      An operator to images of the same shape, not linear.

    Raises:
      ValueError: if the standard deviation is not above 0.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import measure, operators
      >>> shape = (8, 8, 3)
      >>> noisy = operators.noise(shape, 0.5)
      >>> operator = operators.chain(noisy, operators.quantize(shape, 4))
      >>> y = measure(operator, jnp.zeros(shape), jax.random.key(0)).y
      >>> 0.4 < float(y.std()) < 0.6
      True
    """
    image_shape = check_image_shape(image_shape)
    if not isinstance(std, jax.core.Tracer):
        check_one_number("the noise's standard deviation", std, 0, above=True)
    return Noise(std, image_shape)
