"""The Fréchet Inception Distance, and the statistics that it compares."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pigdm_jax.core.checks import given
from pigdm_jax.core.files import write_whole
from pigdm_jax.core.paths import check_readable
from pigdm_jax.core.types import AnyArray
from pigdm_jax.metrics.base import Accumulator, DistributionMetric, Summary


class Gaussian(NamedTuple):
    """Mean and covariance of the features of a set of images.

    Attributes:
      mean: in float64.
      covariance: in float64, with the divisor n - 1 for n images.
    """

    mean: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]


class Moments(Accumulator):
    """Mean and covariance in float64, of features that are seen once.

    Sums are about the mean of the first batch, so that large features lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, features: Float[AnyArray, "b n"]) -> None:
        """Add the features of b images."""
        rows = np.asarray(features, np.float64)
        if not self.count:
            self._origin = rows.mean(axis=0)
            self._sum = np.zeros(rows.shape[1])
            self._products = np.zeros((rows.shape[1],) * 2)
        rows = rows - self._origin
        self.count += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def gaussian(self) -> Gaussian:
        """The statistics of all features so far, of two images or more."""
        mean = self._sum / self.count
        covariance = self._products - self.count * np.outer(mean, mean)
        return Gaussian(self._origin + mean, covariance / (self.count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    r"""The Fréchet distance of two Gaussians, in float64.

    |mean_a - mean_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)). The last trace is
    the sum of the singular values of C_a^(1/2) C_b^(1/2), whose factors also exist for
    singular covariances, as those of fewer images than features are.

    Args:
      a: mean and covariance.
      b: of as many features.

    Raises:
      ValueError: if they have different numbers of features.

    Reference: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule.

    Examples:
      >>> import numpy as np
      >>> a = Gaussian(np.zeros(3), np.eye(3))
      >>> b = Gaussian(np.ones(3), 4 * np.eye(3))
      >>> round(frechet_distance(a, b), 12)
      6.0
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"statistics of {len(a.mean)} and of {len(b.mean)} features cannot be "
            "compared"
        )
    product = _root(a.covariance) @ _root(b.covariance)
    singular = np.linalg.svd(product, compute_uv=False)
    squares = np.sum((a.mean - b.mean) ** 2)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(squares + traces - 2 * singular.sum())


def _root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The symmetric square root; negative eigenvalues are rounding errors."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def write_statistics(path: Path, statistics: Gaussian) -> None:
    """Write statistics as pytorch-fid does: `mu` and `sigma` in an .npz file.

    Args:
      path: of the file, which appears whole or not at all.
      statistics: of the features of a set of images.

    Raises:
      ValueError: if it cannot be written.
    """
    mean, covariance = statistics
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mu=mean, sigma=covariance)
    write_whole(path, buffer.getvalue())


def read_statistics(path: Path) -> Gaussian:
    """Read statistics that `write_statistics` or pytorch-fid wrote.

    Raises:
      ValueError: if the file is missing, or holds no such statistics.
    """
    check_readable(path)
    try:
        # NumPy would not close a damaged file.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            mean, covariance = (np.float64(file[name]) for name in ("mu", "sigma"))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} holds no statistics of images: it must be an .npz file with mu "
            "and sigma, as pytorch-fid writes them"
        ) from None
    shape = np.shape(mean)
    if len(shape) != 1 or np.shape(covariance) != shape * 2:
        raise ValueError(
            f"{path}: sigma must be square, with a row for each value of mu; got "
            f"{given(mean)} and {given(covariance)}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{path}: mu and sigma must be finite")
    return Gaussian(np.asarray(mean), np.asarray(covariance))


class FrechetDistance(DistributionMetric):
    """The Fréchet distance of the features of two sets of images."""

    def accumulator(self) -> Moments:
        """New statistics."""
        return Moments()

    def compare(self, restored: Moments, reference: Moments | Gaussian) -> Summary:
        """The distance; it has no standard error."""
        other = reference.gaussian() if isinstance(reference, Moments) else reference
        return Summary(frechet_distance(restored.gaussian(), other))

    def remark(self, restored: int, reference: int | None) -> str | None:
        """What few images mean.

        Raises:
          ValueError: if there are fewer than two.
        """
        fewest = min(restored, restored if reference is None else reference)
        if fewest < 2:
            raise ValueError(f"{self.name} needs two images at least, got {fewest}")
        if self.features is None or fewest >= self.features:
            return None
        return (
            f"{self.title} of {fewest} images, fewer than its {self.features} "
            "features, is biased upwards: compare it only with values for as many "
            "images"
        )


FID = FrechetDistance(
    *("fid", "FID", "lower"), digits=2, network="inception", features=2048
)
