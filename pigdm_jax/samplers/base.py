"""What a sampler is, and the loop over noise levels that most of them are."""

import abc
from typing import Any

import numpy as np
from jaxtyping import Int, PyTree

from pigdm_jax.core.checks import as_float32, check_choice, check_count, check_number
from pigdm_jax.core.text_form import TextForm
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import SPACINGS, Schedule, Step, step_rows
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.records import Info, OnStep, Trace
from pigdm_jax.samplers.stepping import Start, State, run, run_by_steps


class Sampler(TextForm):
    """A way to sample the image behind a measurement; a frozen pytree.

    A sampler receives a prior and a problem and owns neither. Numbers are leaves; names
    and counts are static fields.

    Attributes:
      needs: what it requires of a problem.
      project: whether `restore` ends with the projection where y is exact.
      default_init: what `init` is if not given: "pinv", or None for pure noise.
    """

    needs: Needs = Needs()
    project: bool = True
    default_init: str | None = None

    @property
    @abc.abstractmethod
    def evaluations(self) -> int:
        """Evaluations of the prior in all (NFE)."""

    @abc.abstractmethod
    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """One sample.

        Args:
          prior: the diffusion model, which takes images of the problem's size.
          problem: a valid one, which meets `needs`.
          key: the image's own key.
          init: an image to begin from, with the first level's noise added.
          on_step: called after each step with its number, 1 .. n, and its `Info`.
        """


class Stepwise(Sampler):
    """A sampler that visits noise levels one by one, in one `jax.lax.scan`.

    What is abstract is the method; `sample` runs it.
    """

    @abc.abstractmethod
    def levels(self, schedule: Schedule) -> Int[np.ndarray, " n_plus_1"]:
        """The noise levels 0 = v_0 < ... < v_n, visited from last to first."""

    @abc.abstractmethod
    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> State:
        """The state from the noisy sample x at the first level."""

    @abc.abstractmethod
    def step(
        self, prior: Prior, problem: Problem, state: State, step: Step, key: PRNGKey
    ) -> tuple[State, Info]:
        """From the state at one noise level to the next, with the step's own key."""

    @abc.abstractmethod
    def image(self, state: State) -> Image:
        """The restored image in the last state."""

    def estimate(self, state: State) -> PyTree | None:
        """What a blind sampler estimated of the measurement."""
        del state
        return None

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Visit the levels; see `Sampler.sample`.

        Raises:
          ValueError: if `on_step` is given under `jit` or `vmap`.
        """
        levels = self.levels(prior.schedule)
        sampler, problem = as_float32(self), as_float32(problem)
        table = step_rows(prior.schedule, levels)
        # Steps have the keys 1 .. n, the first sample n + 1.
        start = Start(
            np.int32(len(levels)),
            np.float32(prior.schedule.alpha_bar_at_level[levels[-1]]),
            init,
        )
        if on_step is None:
            return run(sampler, prior, problem, key, start, table)
        return run_by_steps(sampler, prior, problem, key, start, table, on_step)


class Spaced(Stepwise):
    """A `Stepwise` sampler whose number and spacing of steps users choose.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: fraction of the schedule's noise levels to start at, in (0, 1], from `init`
        with that level's noise added (CCDF, appendix B of the paper); None is 1, from
        pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
    """

    steps: int
    start: Any
    spacing: str

    def __post_init__(self) -> None:
        """Refuse what is known to make no sense."""
        check_count("steps", self.steps)
        check_choice("spacing", self.spacing, SPACINGS)
        if self.start is not None and not 0 < self.start <= 1:
            raise ValueError(
                "start is a fraction of the schedule's noise levels, above 0 and at "
                f"most 1; got {self.start}"
            )
        # Not every sampler has them.
        check_number("eta", vars(self).get("eta"), 0, 1)
        check_number("scale", vars(self).get("scale"), 0)

    @property
    def evaluations(self) -> int:
        """Evaluations of the prior in all (NFE)."""
        return self.steps

    @property
    def default_init(self) -> str | None:  # type: ignore[override]
        """The pseudoinverse, where the sampler does not start from pure noise."""
        return None if self.start is None else "pinv"

    def levels(self, schedule: Schedule) -> Int[np.ndarray, " n_plus_1"]:
        """The noise levels to visit."""
        start = None
        if self.start is not None:
            start = max(round(self.start * schedule.num_steps), self.steps)
        return schedule.levels(self.steps, start, self.spacing)

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> State:
        """The noisy sample itself."""
        del prior, problem, step, key
        return x

    def image(self, state: State) -> Image:
        """The sample itself."""
        return state
