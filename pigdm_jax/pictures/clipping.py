"""Values that a file clipped at white and black, as they were before."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, Image, Scalar

# Taps of a Gaussian window with a standard deviation of 1 pixel.
WINDOW = np.exp(-(np.arange(-3, 4) ** 2) / 2)
GRID = 1001
# A value was not clipped by more than this, in standard deviations of the noise.
FARTHEST = 8.0


@typed_jit
def undo_clipping(picture: Image, noise_std: Scalar, measured: Image) -> Image:
    """A noisy picture whose clipped values are what is expected to have been there.

    A value y ~ N(mu, sigma^2) above 1 is stored as 1, so that noise in white areas is
    one-sided and makes them darker. Such a value is replaced by

        E[y | y > 1] = mu + sigma phi(a) / (1 - Phi(a)),  a = (1 - mu) / sigma,

    and likewise below -1. The mean mu comes from the local mean of the clipped picture,
    through the inverse of the map from mu to E[clip(y)].

    Args:
      picture: in [-1, 1].
      noise_std: sigma, above 0, in units of the [-1, 1] image.
      measured: 1 for pixels that count in local means, 0 for others.

    Reference: Foi, "Clipped noisy images: heteroskedastic modeling and practical
    denoising", Signal Processing 2009, for the mean of a clipped Gaussian.
    """
    weight = _smoothed(measured)
    local = _smoothed(measured * picture) / jnp.where(weight > 0, weight, 1)
    # Estimates of mu may leave [-1, 1]: cut off there, they would be biased inwards.
    mu = jnp.linspace(-1 - noise_std, 1 + noise_std, GRID)
    mean = jnp.interp(local, _clipped_mean(mu, noise_std), mu)
    above = 1 + _excess((1 - mean) / noise_std) * noise_std
    below = -1 - _excess((1 + mean) / noise_std) * noise_std
    return jnp.where(picture >= 1, above, jnp.where(picture <= -1, below, picture))


def _clipped_mean(mu: Array, sigma: Scalar) -> Array:
    """E[clip(y, -1, 1)] for y ~ N(mu, sigma^2)."""
    a, b = (-1 - mu) / sigma, (1 - mu) / sigma
    inside = norm.cdf(b) - norm.cdf(a)
    return norm.sf(b) - norm.cdf(a) + mu * inside + sigma * (norm.pdf(a) - norm.pdf(b))


def _excess(a: Array) -> Array:
    """E[z - a | z > a] for z ~ N(0, 1)."""
    a = jnp.minimum(a, FARTHEST)
    return jnp.exp(norm.logpdf(a) - norm.logsf(a)) - a


def _smoothed(image: Image) -> Float[AnyArray, "H W C"]:
    """Sums under a Gaussian window; pixels outside count as 0."""
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (len(WINDOW) // 2, len(WINDOW) // 2)
        padded = jnp.pad(image, pad)
        n = image.shape[axis]
        image = sum(
            tap * jax.lax.slice_in_dim(padded, i, i + n, axis=axis)
            for i, tap in enumerate(WINDOW.tolist())
        )
    return image
