"""Noise before a measurement whose quantisation counts as noise, too."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import AnyArray, Image, Measurement, Number
from pigdm_jax.operators.base import Relaxation

# Random vectors that estimate how an operator passes noise on. Their estimate of a
# standard deviation is right to 18 %.
PROBES = 16


def with_noise_before(relaxation: Relaxation, noise_std: Number) -> Relaxation:
    """A relaxation whose image has noise of its own.

    Args:
      relaxation: of a measurement.
      noise_std: standard deviation of Gaussian noise in the image that was measured,
        in units of the [-1, 1] image.
    """
    shape = relaxation.operator.image_shape

    def noise(key: AnyArray) -> Image:
        return noise_std * jax.random.rademacher(key, shape, jnp.float32)

    return _with_noise(relaxation, noise)


def with_quantised_image(relaxation: Relaxation, image: Relaxation) -> Relaxation:
    """A relaxation whose image is itself the result of a quantisation.

    Args:
      relaxation: of a measurement.
      image: of the image that was measured, or of one much like it.
    """
    levels, tree = jax.tree.flatten(image.noise_std)

    def noise(key: AnyArray) -> Image:
        keys = jax.random.split(key, len(levels))
        error = [
            level * jax.random.rademacher(k, level.shape, jnp.float32)
            for level, k in zip(levels, keys, strict=True)
        ]
        return image.operator.pinv(jax.tree.unflatten(tree, error))

    return _with_noise(relaxation, noise)


def _with_noise(
    relaxation: Relaxation, noise: Callable[[AnyArray], Image]
) -> Relaxation:
    """The noise level of each value, with noise that `noise` draws from a key added.

    The root of the diagonal of H C H^T, C the noise's covariance, is estimated from
    draws with the same keys in every call.
    """

    def add(variance: Measurement, key: AnyArray) -> tuple[Measurement, None]:
        passed = relaxation.operator.apply(noise(key))
        return jax.tree.map(lambda v, n: v + n**2 / PROBES, variance, passed), None

    keys = jax.random.split(jax.random.key(0), PROBES)
    exact = jax.tree.map(jnp.zeros_like, relaxation.noise_std)
    variance, _ = jax.lax.scan(add, exact, keys)
    both = jax.tree.map(
        lambda std, v: jnp.sqrt(std**2 + v), relaxation.noise_std, variance
    )
    return relaxation._replace(noise_std=both)
