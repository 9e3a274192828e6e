"""The noise of grey pictures, as a prior for colour pictures expects it."""

import jax
import numpy as np

from pigdm_jax.core.types import PRNGKey
from pigdm_jax.pictures.kept import Picture

# Standard deviation of the noise in each channel afterwards, in units of that before.
GAIN = 3**0.5


def spread(picture: Picture, noise_std: float, key: PRNGKey) -> Picture:
    """A noisy grey picture with independent noise in each of its three channels.

    Its channels are equal, y = x + n with n ~ N(0, sigma^2), while the noise of a
    problem is independent in each. To the channels is added

        e = sqrt(3) sigma (z - mean(z)),  z ~ N(0, I),

    whose mean over channels is 0 and whose covariance is sigma^2 (3 I - 1 1^T). That of
    n in all channels is sigma^2 1 1^T, so n + e ~ N(0, 3 sigma^2 I), and the mean of
    the channels is still y.

    Args:
      picture: of three channels, which are equal.
      noise_std: sigma, in units of the [-1, 1] image.
      key: the picture's own.
    """
    z = np.asarray(jax.random.normal(key, picture.shape))
    e = GAIN * noise_std * (z - z.mean(axis=-1, keepdims=True))
    return np.asarray(picture + e, np.float32)
