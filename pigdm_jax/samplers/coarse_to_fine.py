"""A sampler that restores a small version of the image first."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.checks import check_count, check_one_number
from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import Image, ImageShape, PRNGKey
from pigdm_jax.operators.base import Damping, Measurement, Operator
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Needs, Problem, can_relax
from pigdm_jax.samplers.base import START, Sampler, Spaced
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.records import OnStep, Trace, numbered
from pigdm_jax.samplers.relaxed import relax


@pytree_class
class Coarse(Operator):
    """H U: a linear measurement of an image of blocks of factor x factor equal pixels.

    Its pseudoinverse is a least-squares fit. Of a mask, for example, it is the mean of
    each block's known pixels. Blocks may reach beyond the right and the lower border.
    """

    operator: Operator
    image_shape: ImageShape = static_field()
    factor: int = static_field()

    linear = True

    def apply(self, x: Image) -> Measurement:
        """The measurement of the image whose blocks are the pixels of x."""
        height, width, _ = self.operator.image_shape
        blocks = x.repeat(self.factor, 0).repeat(self.factor, 1)
        return self.operator.apply(blocks[:height, :width])

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The (damped) pseudoinverse by conjugate gradients."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)


@pytree_class
class CoarseToFine(Sampler):
    """A sampler run on a small version of the image, and then on larger ones.

    The first run restores the image at 1 / ratio^(scales - 1) of its size: x = U z with
    U the enlargement by equal pixels, so that y = (H U) z. Each further run starts from
    the result before it, enlarged, with the noise of a late level added, and the last
    one is at full size. A prior that has seen small images alone knows what goes
    together over tens of pixels; at a small scale that covers a large hole. The
    measurement must be linear, or quantise (`Operator.relaxed`), and the prior must
    take images of any size.

    Attributes:
      inner: a sampler with `start`, for all scales.
      scales: number of scales; 1 is `inner` alone.
      ratio: how many times larger each scale is than the one before it.
      start: fraction of the schedule's noise levels at which all scales but the first
        start, in (0, 1].

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.from_denoiser(lambda x, t: 0.1 * x)
      >>> operator = pj.operators.super_resolution((8, 8, 1), 2)
      >>> problem = pj.measure(operator, np.ones((8, 8, 1)))
      >>> sampler = pj.samplers.CoarseToFine(pj.samplers.Fitted(steps=5), ratio=4)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> image.shape, sampler.evaluations, str(sampler)
      ((8, 8, 1), 10, 'coarse_to_fine:inner=(fitted:steps=5),ratio=4')
    """

    name = "coarse_to_fine"

    inner: Any = Fitted()
    scales: int = static_field(default=2)
    ratio: int = static_field(default=8)
    start: float = static_field(default=0.3)

    def __post_init__(self) -> None:
        """Check the fields."""
        check_count("scales", self.scales)
        check_count("ratio", self.ratio, 2)
        check_one_number(START, self.start, 0, 1, above=True)
        if isinstance(self.inner, Sampler) and not isinstance(self.inner, Spaced):
            raise ValueError(
                f"{self.inner.name} cannot start late, as coarse_to_fine needs it to; "
                "use fitted or ddim"
            )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Those of the inner sampler."""
        return self.inner.needs._replace(spectrum=False)

    @property
    def evaluations(self) -> int:
        """Those of the inner sampler, at every scale."""
        return self.inner.evaluations * self.scales

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Run the inner sampler at each scale; see `Sampler.sample`.

        Raises:
          ValueError: if the prior or the operator does not suit it.
        """
        if self.scales == 1:
            own = jax.random.fold_in(key, 0)
            return self.inner.sample(prior, problem, own, init, on_step)
        problem = self._linear(prior, problem)
        later = dataclasses.replace(self.inner, start=self.start)
        image: Any = init
        traces = []
        for k in range(self.scales):
            coarse = coarsened(prior, problem, self.ratio ** (self.scales - 1 - k))
            image_shape = coarse.operator.image_shape
            own = jax.random.fold_in(key, k)
            if k:
                image = _enlarged(image, self.ratio, image_shape)
            elif image is not None:
                image = jax.image.resize(image, image_shape, "linear")
            report = numbered(on_step, k * self.inner.evaluations)
            sampler = later if k else self.inner
            image, trace = sampler.sample(prior, coarse, own, image, report)
            traces.append(trace)
        return image, _joined(traces)

    def _linear(self, prior: Prior, problem: Problem) -> Problem:
        """The problem, or its relaxation.

        Raises:
          ValueError: if the prior or the operator does not suit the sampler.
        """
        if not takes_small_images(prior):
            raise ValueError(
                "coarse_to_fine needs a prior for images of any size, without another "
                "image as its condition; use fitted"
            )
        if problem.operator.linear:
            return problem
        if not can_relax(problem):
            raise ValueError(
                "coarse_to_fine needs an operator that is linear or quantises; use "
                "fitted"
            )
        return relax(problem)


def takes_small_images(prior: Prior) -> bool:
    """Whether a prior can restore small versions of its images."""
    return prior.image_shape is None and prior.sees is None


def coarsened(prior: Prior, problem: Problem, factor: int) -> Problem:
    """The problem for an image that is smaller by a factor.

    Its sides are rounded up to those that the prior takes.
    """
    if factor == 1:
        return problem
    height, width, channels = problem.operator.image_shape
    m = prior.multiple
    height, width = (
        max(-(-n // (factor * m)) * m, prior.smallest) for n in (height, width)
    )
    operator = Coarse(problem.operator, (height, width, channels), factor)
    return dataclasses.replace(problem, operator=operator)


def _enlarged(image: Image, ratio: int, shape: ImageShape) -> Any:
    """The result of a scale at the next one; its blocks may have reached beyond it."""
    # No Image is returned, whose height and width jaxtyping would take for the other's.
    height, width, channels = shape
    larger = (ratio * image.shape[0], ratio * image.shape[1], channels)
    return jax.image.resize(image, larger, "cubic")[:height, :width]


@typed_jit
def _joined(traces: list[Trace]) -> Trace:
    """The traces of all runs, one after another."""
    bare = [trace._replace(estimate=None) for trace in traces]
    joined: Trace = jax.tree.map(lambda *rows: jnp.concatenate(rows), *bare)
    return joined._replace(estimate=traces[-1].estimate)
