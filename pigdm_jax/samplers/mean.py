"""The mean of several samples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.priors.base import Prior, check_symmetries
from pigdm_jax.priors.mirrored import MirroredPrior, check_views
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.records import OnStep, Trace, numbered


@pytree_class
class Mean(Sampler):
    """The mean of several samples of another sampler.

    It is nearer to the truth than a sample: the squared error falls from twice the
    posterior's variance to (1 + 1 / samples) times it, were the samples exact. Where
    the measurement leaves details open, they are averaged away.

    Attributes:
      inner: the sampler whose samples are averaged.
      samples: how many; the k-th has the key `fold_in(key, k)`.
      views: number of mirror images of which the prior sees one in each sample, in
        turn: 1, 2 (left-right), 4 (and upside down) or 8 (and transposed; for square
        images). The mean has a smaller error where the prior holds all of them for
        equally likely (`Prior.symmetries`).

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.Mean(pj.samplers.Fitted(steps=5), samples=2)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> sampler.evaluations, str(sampler)
      (10, 'mean:inner=(fitted:steps=5),samples=2')
    """

    inner: Any = Fitted()
    samples: int = static_field(default=4)
    views: int = static_field(default=1)

    def __post_init__(self) -> None:
        """Check the numbers of samples and views."""
        check_count("samples", self.samples)
        check_symmetries("views", self.views)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Those of the inner sampler."""
        return self.inner.needs

    @property
    def project(self) -> bool:  # type: ignore[override]
        """As the inner sampler."""
        return self.inner.project

    @property
    def evaluations(self) -> int:
        """Those of all samples."""
        return self.samples * self.inner.evaluations

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Average the samples; the trace is the mean of theirs.

        Raises:
          ValueError: if an image that is not square has to be transposed, or the prior
            takes an image besides x_t and has to take it mirrored.
        """
        check_views(self.views, prior, problem.operator.image_shape)
        if on_step is None:
            return _mean(self, prior, problem, key, init)
        results = []
        for k in range(self.samples):
            report = numbered(on_step, k * self.inner.evaluations)
            number = np.asarray(k, np.int32)
            results.append(self._draw(number, prior, problem, key, init, report))
        return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *results)

    def _draw(
        self,
        k: Int[AnyArray, ""],
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None,
        on_step: OnStep | None = None,
    ) -> Any:
        """The k-th sample and its trace."""
        if self.views > 1:
            prior = MirroredPrior(prior, k % self.views, self.views)
        own = jax.random.fold_in(key, k)
        return self.inner.sample(prior, problem, own, init, on_step)


@tuned_jit
def _mean(
    sampler: Mean, prior: Prior, problem: Problem, key: PRNGKey, init: Image | None
) -> tuple[Image, Trace]:
    results = jax.lax.map(
        lambda k: sampler._draw(k, prior, problem, key, init),
        jnp.arange(sampler.samples),
    )
    return jax.tree.map(lambda leaf: leaf.mean(0), results)
