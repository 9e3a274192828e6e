"""The Kernel Inception Distance."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from pigdm_jax.core.types import AnyArray
from pigdm_jax.metrics.base import Accumulator, DistributionMetric, Summary


class FeatureList(Accumulator):
    """All features, in float32: 8 kB an image for Inception's."""

    def __init__(self) -> None:
        self._batches: list[np.ndarray] = []

    def add(self, features: Float[AnyArray, "b n"]) -> None:
        """Add the features of b images."""
        self._batches.append(np.asarray(features, np.float32))

    def array(self) -> Float[np.ndarray, "images n"]:
        """The features of all images."""
        return np.concatenate(self._batches)


def kernel_distance(x: Float[np.ndarray, "a n"], y: Float[np.ndarray, "b n"]) -> float:
    """The unbiased squared maximum mean discrepancy of two samples; may be negative.

    Its kernel is (x y / n + 1)^3.

    Args:
      x: features of images, two or more.
      y: of the others.

    Reference: Binkowski et al. 2018, Demystifying MMD GANs.
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a @ b.T) / a.shape[1] + 1).astype(np.float64) ** 3

    def off_diagonal(a: np.ndarray) -> float:
        own = kernel(a, a)
        return (own.sum() - np.trace(own)) / (len(a) * (len(a) - 1))

    return float(off_diagonal(x) + off_diagonal(y) - 2 * kernel(x, y).mean())


@dataclasses.dataclass(frozen=True)
class KernelDistance(DistributionMetric):
    """The mean kernel distance of random subsets of two sets of images.

    Attributes:
      subsets: number of subsets.
      size: images of each; half of the images, if there are not more than this.
      seed: of the choice.
    """

    subsets: int = 100
    size: int = 1000
    seed: int = 0

    def accumulator(self) -> FeatureList:
        """A new list of features."""
        return FeatureList()

    def compare(self, restored: FeatureList, reference: FeatureList) -> Summary:
        """The mean over subsets with its standard error."""
        x, y = restored.array(), reference.array()
        size = self._subset(min(len(x), len(y)))
        rng = np.random.default_rng(self.seed)

        def subset(features: np.ndarray) -> np.ndarray:
            return features[rng.choice(len(features), size, replace=False)]

        values = [kernel_distance(subset(x), subset(y)) for _ in range(self.subsets)]
        error = float(np.std(values, ddof=1)) / math.sqrt(self.subsets)
        return Summary(float(np.mean(values)), error)

    def remark(self, restored: int, reference: int | None) -> str | None:
        """How large subsets of few images are.

        Raises:
          ValueError: if there are fewer than four, or statistics instead of images.
        """
        if reference is None:
            raise ValueError(
                f"{self.name} needs the reference pictures; statistics of them do not "
                "suffice"
            )
        fewest = min(restored, reference)
        if fewest < 4:
            raise ValueError(f"{self.name} needs four images at least, got {fewest}")
        size = self._subset(fewest)
        if size == self.size:
            return None
        return f"{self.title} is the mean of subsets of {size} images, not {self.size}"

    def _subset(self, count: int) -> int:
        return self.size if count > self.size else count // 2


KID = KernelDistance(*("kid", "KID", "lower"), digits=5, network="inception")
