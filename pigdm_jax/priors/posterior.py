"""The exact posterior of Gaussian-mixture priors and linear measurements."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from pigdm_jax.core.checks import given
from pigdm_jax.core.types import Measurement
from pigdm_jax.operators.base import Operator
from pigdm_jax.priors.mixture import MixturePrior, mixture_prior
from pigdm_jax.problem import Problem, check_problem

# Singular values below this fraction of the largest count as 0; matrices are float32.
RANK_TOLERANCE = 1e-5


def exact_posterior(prior: MixturePrior, problem: Problem) -> MixturePrior:
    """The distribution of x given y = H x + noise, for a Gaussian or a mixture prior.

    The posterior is a mixture too, with a `mean`, a `covariance` and a `sample`. Used
    as a prior, without guidance, it gives the distribution that guidance approximates.
    It is computed in float64 with dense matrices: use it for images of at most a few
    thousand values, and not under `jit`.

    Args:
      prior: made by `gaussian_prior` or `mixture_prior`.
      problem: with a linear operator. Components of y outside the operator's range (the
        pixels that a mask hides) are ignored.

    Raises:
      TypeError: if prior or problem is of another type.
      ValueError: if the problem is wrong, the operator is not linear, or a component
        of a mixture has no variance along a measured direction while y is exact (its
        posterior weight is then undefined).

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.identity((4, 4, 1))
      >>> problem = pj.Problem(operator, np.ones((4, 4, 1)), noise_std=1.0)
      >>> posterior = pj.exact_posterior(prior, problem)
      >>> round(float(posterior.mean[0, 0, 0]), 4)
      0.5
    """
    if not isinstance(prior, MixturePrior):
        raise TypeError(
            "the exact posterior is known only for a gaussian_prior or mixture_prior, "
            f"got {given(prior)}"
        )
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a pigdm_jax.Problem, got {given(problem)}")
    check_problem(problem)
    if problem.noise_per_value:
        raise ValueError("the exact posterior needs one noise_std for all values")
    operator, y = problem.operator, problem.y
    noise_std = 0.0 if problem.noise_std is None else float(problem.noise_std)
    if not operator.linear:
        raise ValueError("the exact posterior is known only for linear operators")
    matrix, values = _independent_rows(operator, y)
    log_weights, means, covariances = [], [], []
    for log_weight, mean, covariance in zip(*_components(prior), strict=True):
        measured = _measured(mean, covariance, matrix, values, noise_std)
        if len(prior.log_weights) > 1 and measured.singular:
            raise ValueError(
                "a component has no variance along a measured direction, so its weight "
                "is undefined; give a noise_std above 0"
            )
        log_weights.append(log_weight + measured.log_evidence)
        means.append(measured.mean)
        covariances.append(measured.covariance)
    # Weights that underflow to 0 become the smallest positive float32.
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return mixture_prior(
        np.maximum(weights, np.finfo(np.float32).tiny),
        np.reshape(means, (-1, *prior.image_shape)),
        np.array(covariances),
        prior.schedule,
    )


class Measured(NamedTuple):
    """The posterior of a Gaussian.

    Attributes:
      mean, covariance: of the posterior.
      log_evidence: log of the density of the measurement, up to a constant.
      singular: whether the Gaussian has no variance along a measured direction.
    """

    mean: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    log_evidence: float
    singular: bool


def _measured(
    mean: Float[np.ndarray, " n"],
    covariance: Float[np.ndarray, "n n"],
    matrix: Float[np.ndarray, "m n"],
    values: Float[np.ndarray, " m"],
    noise_std: float,
) -> Measured:
    """The posterior of a Gaussian x given values = matrix x + noise."""
    evidence = matrix @ covariance @ matrix.T + noise_std**2 * np.eye(len(matrix))
    eigenvalues, vectors = np.linalg.eigh(evidence)
    kept = eigenvalues > 1e-12 * eigenvalues.max(initial=0)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    difference = vectors.T @ (values - matrix @ mean)
    gain = covariance @ matrix.T @ vectors / eigenvalues
    # Joseph's form, which stays positive semi-definite in floating point.
    complement = np.eye(len(mean)) - gain @ vectors.T @ matrix
    return Measured(
        mean + gain @ difference,
        complement @ covariance @ complement.T + noise_std**2 * gain @ gain.T,
        -0.5 * float(np.sum(difference**2 / eigenvalues + np.log(eigenvalues))),
        not kept.all(),
    )


def _components(prior: MixturePrior) -> tuple[Float[np.ndarray, "..."], ...]:
    """Log weights (K,), means (K, n) and covariances (K, n, n), in float64."""
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
    """An equivalent matrix with linearly independent rows, and its measurement.

    Both are multiplied by the left singular vectors, which keeps white noise white.
    """
    n = int(np.prod(operator.image_shape))
    units = jnp.eye(n, dtype=jnp.float32).reshape(n, *operator.image_shape)
    rows = jax.vmap(lambda x: ravel_pytree(operator.apply(x))[0])(units)
    u, singular, vt = np.linalg.svd(np.asarray(rows, np.float64).T, full_matrices=False)
    kept = singular > RANK_TOLERANCE * singular.max(initial=0)
    values = np.asarray(ravel_pytree(y)[0], np.float64)
    return singular[kept, None] * vt[kept], u[:, kept].T @ values
