"""The mean of several samples."""

from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.priors.base import Prior
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

    def __post_init__(self) -> None:
        """Check the number of samples."""
        check_count("samples", self.samples)

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
        """Average the samples; the trace is the mean of theirs."""
        if on_step is None:
            return _mean(self, prior, problem, key, init)
        results = []
        for k in range(self.samples):
            report = numbered(on_step, k * self.inner.evaluations)
            own = jax.random.fold_in(key, k)
            results.append(self.inner.sample(prior, problem, own, init, report))
        return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *results)


@tuned_jit
def _mean(
    sampler: Mean, prior: Prior, problem: Problem, key: PRNGKey, init: Image | None
) -> tuple[Image, Trace]:
    def one(k: AnyArray) -> tuple[Image, Trace]:
        own = jax.random.fold_in(key, k)
        return sampler.inner.sample(prior, problem, own, init)

    results = jax.lax.map(one, jnp.arange(sampler.samples))
    return jax.tree.map(lambda leaf: leaf.mean(0), results)
