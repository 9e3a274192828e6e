"""Quantised measurements restored as linear ones with noise."""

from typing import Any

import jax

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.records import OnStep, Trace


@pytree_class
class Relaxed(Sampler):
    """A sampler run on the linear part of an operator that quantises.

    Quantisation is a linear measurement with an error of known size. `inner` samples
    with that error as noise, one level for every value (`Operator.relaxed`); in the
    end `restore` moves what has left its quantisation cell to the cell's border.

    Attributes:
      inner: a sampler that takes a linear operator with a noise level for every value.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> problem = pj.measure(pj.operators.quantize((4, 4, 1), 2), np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.Relaxed(pj.samplers.Fitted(steps=5))
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> str(sampler), float(pj.measurement_residual(problem, image))
      ('relaxed:inner=(fitted:steps=5)', 0.0)
    """

    inner: Any = Fitted(start=0.4)

    needs = Needs(relaxed=True)

    def __post_init__(self) -> None:
        """Check the inner sampler."""
        if not isinstance(self.inner, Sampler):
            return  # A pytree's leaf may be any object while JAX transforms it.
        if self.inner.needs.noise != "any":
            raise ValueError(
                f"{self.inner.name} takes one noise level for all measured values, but "
                "quantisation makes an error of its own in each; use fitted or ddim"
            )

    @property
    def evaluations(self) -> int:
        """Those of the inner sampler."""
        return self.inner.evaluations

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Run the inner sampler; see `Sampler.sample`."""
        own = jax.random.fold_in(key, 0)
        return self.inner.sample(prior, relax(problem), own, init, on_step)


@typed_jit
def relax(problem: Problem) -> Problem:
    """A problem with a quantised measurement as a linear one with noise."""
    return Problem(*problem.operator.relaxed(problem.y))
