"""The posterior where it is known exactly: Gaussian mixtures, linear measurements."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from pigdm_jax.core.types import Measurement
from pigdm_jax.operators.base import Operator
from pigdm_jax.priors.mixture import MixturePrior, mixture_prior
from pigdm_jax.problem import Problem

# Singular values of an operator's matrix, which is float32, below this count as 0.
RANK_TOLERANCE = 1e-5


def exact_posterior(prior: MixturePrior, problem: Problem) -> MixturePrior:
    """The distribution of x given y = H x + noise, for a Gaussian or a mixture prior.

    It is a mixture again, so it has a `mean`, a `covariance` and a `sample`; as a prior
    of its own, sampled without guidance, it gives what guidance aims at.

    Computed in float64 with dense matrices, so for images of up to a few thousand
    values; not to be jitted.

    Args:
      prior: made by `gaussian_prior` or `mixture_prior`.
      problem: with a linear operator. What no image can measure (the pixels a mask
        hides) is ignored.

    Raises:
      ValueError: if the operator is not linear or noise_std is negative, or if without
        noise the components of a mixture have no density to be weighed by.
    """
    operator, y = problem.operator, problem.y
    noise_std = 0.0 if problem.noise_std is None else float(problem.noise_std)
    if not operator.linear:
        raise ValueError("the exact posterior is known for linear operators alone")
    if noise_std < 0:
        raise ValueError(f"noise_std must be at least 0, got {noise_std}")
    matrix, values = _independent_rows(operator, y)
    log_weights, means, covariances = [], [], []
    for log_weight, mean, covariance in zip(*_components(prior), strict=True):
        spread = matrix @ covariance @ matrix.T + noise_std**2 * np.eye(len(matrix))
        eigenvalues, vectors = np.linalg.eigh(spread)
        kept = eigenvalues > 1e-12 * eigenvalues.max(initial=0)
        if len(prior.log_weights) > 1 and not kept.all():
            raise ValueError(
                "a component has no variance along what is measured, so it has no "
                "density there; give a noise_std above 0"
            )
        eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
        difference = vectors.T @ (values - matrix @ mean)
        gain = covariance @ matrix.T @ vectors / eigenvalues
        # Joseph's form, which cannot leave the positive semi-definite matrices.
        left = np.eye(len(mean)) - gain @ vectors.T @ matrix
        log_weights.append(
            log_weight - 0.5 * np.sum(difference**2 / eigenvalues + np.log(eigenvalues))
        )
        means.append(mean + gain @ difference)
        covariances.append(left @ covariance @ left.T + noise_std**2 * gain @ gain.T)
    # The smallest positive float stands for weights that are 0 in floating point.
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return mixture_prior(
        np.maximum(weights, np.finfo(np.float32).tiny),
        np.reshape(means, (-1, *prior.image_shape)),
        np.array(covariances),
        prior.schedule,
    )


def _components(prior: MixturePrior) -> tuple[Float[np.ndarray, "..."], ...]:
    """Logarithms of the weights, means (K, n) and covariances (K, n, n)."""
    vectors, values = (
        np.asarray(a, np.float64) for a in (prior.eigenvectors, prior.eigenvalues)
    )
    covariances = np.einsum("kij,kj,klj->kil", vectors, values, vectors)
    log_weights, means = (
        np.asarray(a, np.float64) for a in (prior.log_weights, prior.means)
    )
    return log_weights, means, covariances


def _independent_rows(
    operator: Operator, y: Measurement
) -> tuple[Float[np.ndarray, "r n"], Float[np.ndarray, " r"]]:
    """A matrix and measurement that tell the same, with linearly independent rows.

    Rotated by the left singular vectors, so that white noise stays white.
    """
    n = int(np.prod(operator.image_shape))
    units = jnp.eye(n).reshape(n, *operator.image_shape)
    rows = jax.vmap(lambda x: ravel_pytree(operator.apply(x))[0])(units)
    left, singular, right = np.linalg.svd(
        np.asarray(rows, np.float64).T, full_matrices=False
    )
    kept = singular > RANK_TOLERANCE * singular.max(initial=0)
    values = np.asarray(ravel_pytree(y)[0], np.float64)
    return singular[kept, None] * right[kept], left[:, kept].T @ values
