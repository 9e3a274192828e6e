"""What a metric is."""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxtyping import Float

from pigdm_jax.core.types import AnyArray, ImageShape

Input = Literal["image", "reference", "label", "features"]


class Summary(NamedTuple):
    """The value of a metric for a set of images.

    Attributes:
      value: the mean over images, or the value of a metric of distributions.
      error: the standard error of `value`; None if it has none.
    """

    value: float
    error: float | None = None


@dataclasses.dataclass(frozen=True)
class Metric:
    """What all metrics state.

    Attributes:
      name: on the command line and in results.
      title: in tables.
      better: whether "higher" or "lower" values are better.
      unit: of its values; "" for none.
      digits: after the decimal point, in tables.
      network: the name of the network that it needs, or a `FeatureNetwork` of your own;
        None if it needs none.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    _: dataclasses.KW_ONLY
    unit: str = ""
    digits: int = 3
    network: Any = None

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with reference images."""
        raise NotImplementedError

    def text(self, value: float, error: float | None = None) -> str:
        """A value as text, with its standard error, if it has one, and its unit.

        Examples:
          >>> from pigdm_jax.metrics import METRICS
          >>> METRICS["psnr"].text(30), METRICS["psnr"].text(30, 0.25)
          ('30.00 dB', '30.00 ± 0.25 dB')
        """
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        number = f"{value:.{self.digits}f}"
        if error is not None:
            number += f" ± {error:.{self.digits}f}"
        return f"{number}{self.unit and f' {self.unit}'}"


@dataclasses.dataclass(frozen=True)
class ImageMetric(Metric):
    """A metric that has a value for each image.

    It is called as `function` is: `metric(image, reference)`.

    Attributes:
      function: of one image: its inputs to a scalar, by JAX. A metric with a network,
        but without "features" among its inputs, takes the network first.
      inputs: what `function` takes: "image" and "reference", (height, width, 3) in
        [-1, 1]; "label", the class as an int32 scalar; "features" of the image by the
        network.
      smallest: side of an image in pixels, at least.
      check: called with the shape of images before anything is computed; it may raise
        ValueError.
      classes: the number of labels, if there is a limit.

    Examples:
      >>> import jax.numpy as jnp
      >>> def mse(image, reference):
      ...     return jnp.mean((image - reference) ** 2) / 4
      >>> metric = ImageMetric("mse", "MSE", "lower", function=mse)
      >>> float(metric(jnp.ones((8, 8, 3)), jnp.zeros((8, 8, 3))))
      0.25
    """

    _: dataclasses.KW_ONLY
    function: Callable[..., Any]
    inputs: tuple[Input, ...] = ("image", "reference")
    smallest: int = 1
    check: Callable[[ImageShape], None] | None = None
    classes: int | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with reference images."""
        return "reference" in self.inputs

    def __call__(self, *inputs: Any) -> Any:
        """The value for one image."""
        return self.function(*inputs)


class Accumulator(abc.ABC):
    """Statistics of the features of a set of images."""

    @abc.abstractmethod
    def add(self, features: Float[AnyArray, "b n"]) -> None:
        """Add the features of b images."""


@dataclasses.dataclass(frozen=True)
class DistributionMetric(Metric, abc.ABC):
    """A metric that compares the features of two sets of images.

    Images are read once, whatever the number of metrics, and only what `accumulator`
    keeps stays in memory. Features are those of `network`.

    Attributes:
      features: number of features, if that is known.
    """

    _: dataclasses.KW_ONLY
    features: int | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with reference images."""
        return True

    @abc.abstractmethod
    def accumulator(self) -> Any:
        """A new `Accumulator`, empty."""

    @abc.abstractmethod
    def compare(self, restored: Any, reference: Any) -> Summary:
        """The value of two accumulators that have seen all images.

        For statistics that were read, reference is a `Gaussian`.
        """

    def remark(self, restored: int, reference: int | None) -> str | None:
        """What is to be said of two numbers of images, before anything is computed.

        Args:
          restored: number of restored images.
          reference: number of reference images; None if their statistics are read.

        Raises:
          ValueError: if there are too few.
        """
        del restored, reference
        return None
