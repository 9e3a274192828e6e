"""Gaussian and Gaussian-mixture priors, with the exact eps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, ImageShape, PRNGKey
from pigdm_jax.priors.base import Prior, Timestep
from pigdm_jax.priors.schedule import Schedule, alpha_bar_at, as_schedule

# Squares are finite in float32.
LARGEST = 1e18


@pytree_class
class MixturePrior(Prior):
    """A Gaussian mixture; made by `mixture_prior` or `gaussian_prior`.

    Attributes:
      log_weights: logarithms of the K weights.
      means: (K, n), with n = H W C.
      eigenvectors: of the covariances, in columns, (K, n, n). With eigenvectors and
        eigenvalues each noise level takes two matrix products and no factorisation.
      eigenvalues: of the covariances, (K, n).
      schedule: the noise schedule.
      image_shape: (height, width, channels).
      multiple: 1.
    """

    log_weights: Any
    means: Any
    eigenvectors: Any
    eigenvalues: Any
    schedule: Schedule = static_field()
    image_shape: ImageShape = static_field()
    multiple: int = static_field(default=1)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The exact eps = -sqrt(1 - alpha_bar) grad log p_t(x_t)."""
        alpha_bar, one_minus = alpha_bar_at(self.schedule, t)
        high = jax.lax.Precision.HIGHEST
        centred = x_t.reshape(-1) - jnp.sqrt(alpha_bar) * self.means
        spectrum = alpha_bar * self.eigenvalues + one_minus
        along = jnp.einsum("kji,kj->ki", self.eigenvectors, centred, precision=high)
        log_density = self.log_weights - 0.5 * jnp.sum(
            along**2 / spectrum + jnp.log(spectrum), axis=-1
        )
        whitened = jnp.einsum(
            "kij,kj->ki", self.eigenvectors, along / spectrum, precision=high
        )
        eps = jnp.sqrt(one_minus) * jax.nn.softmax(log_density) @ whitened
        return eps.reshape(x_t.shape)

    @property
    def mean(self) -> Image:
        """The mean, (H, W, C)."""
        return (jnp.exp(self.log_weights) @ self.means).reshape(self.image_shape)

    @property
    def covariance(self) -> Float[Array, "n n"]:
        """The covariance of the flattened pixels, n = H W C."""
        high = jax.lax.Precision.HIGHEST
        weights = jnp.exp(self.log_weights)
        centred = self.means - weights @ self.means
        roots = self.eigenvectors * jnp.sqrt(self.eigenvalues)[:, None]
        within = jnp.einsum("k,kij,klj->il", weights, roots, roots, precision=high)
        between = jnp.einsum("k,ki,kl->il", weights, centred, centred, precision=high)
        return within + between

    def sample(self, key: PRNGKey) -> Image:
        """Draw one image, (H, W, C), from the mixture; use `jax.vmap` for more."""
        which_key, key = jax.random.split(key)
        k = jax.random.categorical(which_key, self.log_weights)
        z = jax.random.normal(key, self.eigenvalues[k].shape, jnp.float32)
        deviation = self.eigenvectors[k] @ (jnp.sqrt(self.eigenvalues[k]) * z)
        return (self.means[k] + deviation).reshape(self.image_shape)


def mixture_prior(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    schedule: Schedule | str = "linear",
) -> MixturePrior:
    """A mixture of K Gaussians over images, with the exact eps at every step.

    Args:
      weights: K positive numbers; they are normalised.
      means: K images, (K, H, W, C).
      covariances: (K, n, n) over each image's flattened pixels, n = H W C.
      schedule: a schedule, or "linear" or "cosine".

    Raises:
      ValueError: if shapes disagree, a number is not finite, a weight is not positive,
        or a covariance is not symmetric or has a negative eigenvalue.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> means = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))])
      >>> covariances = 0.01 * np.stack([np.eye(16), np.eye(16)])
      >>> prior = pj.mixture_prior([1, 3], means, covariances)
      >>> round(float(prior.mean[0, 0, 0]), 4)
      0.75
    """
    weights = as_numbers("weights", weights)
    means = as_numbers("means", means)
    covariances = as_numbers("covariances", covariances)
    if means.ndim != 4:
        raise ValueError(f"means must have shape (K, H, W, C), got {means.shape}")
    k, n = means.shape[0], int(np.prod(means.shape[1:]))
    if weights.shape != (k,) or covariances.shape != (k, n, n):
        raise ValueError(
            f"for means {means.shape} weights must have shape {(k,)} and covariances "
            f"{(k, n, n)}, got {weights.shape} and {covariances.shape}"
        )
    if not (weights > 0).all():
        raise ValueError("every weight must be positive")
    largest = np.abs(covariances).max(initial=0)
    if largest >= LARGEST or np.abs(means).max(initial=0) >= LARGEST:
        raise ValueError(f"means and covariances must be below {LARGEST:g}")
    asymmetry = np.abs(covariances - covariances.swapaxes(1, 2)).max(initial=0)
    if asymmetry > 1e-4 * largest:
        raise ValueError(
            "a covariance must be a symmetric matrix; this one differs from its "
            f"transpose by up to {asymmetry:.3g}"
        )
    eigenvalues, eigenvectors = np.linalg.eigh(covariances)
    if eigenvalues.min() < -1e-6 * max(eigenvalues.max(), 1e-30):
        raise ValueError("a covariance has a negative eigenvalue")
    return MixturePrior(
        log_weights=jnp.asarray(np.log(weights / weights.sum()), jnp.float32),
        means=jnp.asarray(means.reshape(k, n), jnp.float32),
        eigenvectors=jnp.asarray(eigenvectors, jnp.float32),
        eigenvalues=jnp.asarray(np.maximum(eigenvalues, 0), jnp.float32),
        schedule=as_schedule(schedule),
        image_shape=tuple(int(s) for s in means.shape[1:]),
    )


def gaussian_prior(
    mean: ArrayLike,
    covariance: ArrayLike,
    schedule: Schedule | str = "linear",
) -> MixturePrior:
    """A Gaussian over images, with the exact eps at every step.

    Args:
      mean: an image, (H, W, C).
      covariance: (n, n) over its flattened pixels, n = H W C.
      schedule: a schedule, or "linear" or "cosine".

    Raises:
      ValueError: if shapes disagree or the covariance has a negative eigenvalue.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> prior.sample(jax.random.key(0)).shape
      (4, 4, 1)
    """
    mean, covariance = as_numbers("mean", mean), as_numbers("covariance", covariance)
    n = mean.size
    if mean.ndim != 3 or covariance.shape != (n, n):
        raise ValueError(
            "mean must have shape (H, W, C) and covariance (n, n) with n = H W C, got "
            f"{mean.shape} and {covariance.shape}"
        )
    return mixture_prior(np.ones(1), mean[None], covariance[None], schedule)
