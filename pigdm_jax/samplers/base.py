"""The base classes of samplers."""

import abc
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int, PyTree

from pigdm_jax.core.checks import (
    as_float32,
    check_choice,
    check_count,
    check_number,
    check_one_number,
)
from pigdm_jax.core.text_form import TextForm
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import SPACINGS, Schedule, Step, step_rows
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.records import Info, OnStep, Trace
from pigdm_jax.samplers.stepping import Start, State, run, run_by_steps

START = "start is a fraction of the schedule's noise levels; it"


class Sampler(TextForm):
    """A method that samples an image given a measurement; a frozen pytree.

    A sampler holds its own parameters and receives prior and problem as arguments.
    Real numbers are leaves of the pytree; names and counts are static fields. Its text
    form, `str(sampler)`, is what the command takes and `parse` reads. To write one,
    inherit from `Stepwise`, or from here if it does not visit noise levels in turn.

    Attributes:
      needs: what it requires of a problem.
      project: whether `restore` projects the result onto the measurement if y is exact.
      default_init: the value of `init` if none is given: "pinv", or None for pure
        noise.

    Examples:
      >>> import pigdm_jax as pj
      >>> sampler = pj.samplers.parse("dps:steps=50,scale=0.3")
      >>> sampler.evaluations, str(sampler)
      (50, 'dps:steps=50,scale=0.3')
    """

    needs: Needs = Needs()
    project: bool = True
    default_init: str | None = None

    @property
    @abc.abstractmethod
    def evaluations(self) -> int:
        """Number of evaluations of the prior (NFE)."""

    @abc.abstractmethod
    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Draw one sample. `restore` calls this after it has checked the request.

        Args:
          prior: the diffusion model, which takes images of the problem's size.
          problem: the measurement; valid, and such that it meets `needs`.
          key: a `jax.random` key, used for this image alone.
          init: image to start from, (H, W, C) in [-1, 1]; the noise of the first level
            is added to it. None is `default_init`.
          on_step: called after each step with its number, 1 .. n, and its `Info`.

        Returns:
          The image, (H, W, C), and the trace of the run.
        """


class Stepwise(Sampler):
    """A sampler that visits noise levels in turn, in one `jax.lax.scan`.

    A subclass implements `levels`, `begin`, `step` and `image`; `sample` runs them. The
    state that they pass on may be any pytree whose shapes and types are the same in all
    steps.

    Examples:
      A sampler that projects the prediction onto the measurement, and adds noise:

      >>> import jax, numpy as np, pigdm_jax as pj
      >>> import jax.numpy as jnp
      >>> @pj.pytree_class
      ... class Projected(pj.samplers.Spaced):
      ...     steps: int = pj.static_field(default=10)
      ...     start: float | None = pj.static_field(default=None)
      ...     spacing: str = pj.static_field(default="uniform")
      ...     def step(self, prior, problem, state, step, key):
      ...         eps = prior(state, step.t)
      ...         x0 = (state - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t)
      ...         fitted = problem.operator.nearest(x0, problem.y)
      ...         z = jax.random.normal(key, state.shape)
      ...         x_s = jnp.sqrt(step.a_s) * fitted + jnp.sqrt(step.b_s) * z
      ...         residual = pj.measurement_residual(problem, x0)
      ...         return x_s, pj.Info(x0, residual, fitted - x0)
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> pj.restore(prior, problem, jax.random.key(0), Projected(steps=5)).shape
      (4, 4, 1)
    """

    @abc.abstractmethod
    def levels(self, schedule: Schedule) -> Int[np.ndarray, " n_plus_1"]:
        """The noise levels 0 = v_0 < ... < v_n, visited from the last to the first."""

    @abc.abstractmethod
    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> State:
        """The state at the first noise level.

        Args:
          prior: the diffusion model.
          problem: the measurement.
          x: a noisy sample at that level, (H, W, C).
          step: the coefficients of the first step.
          key: a `jax.random` key, used for this call alone.
        """

    @abc.abstractmethod
    def step(
        self, prior: Prior, problem: Problem, state: State, step: Step, key: PRNGKey
    ) -> tuple[State, Info]:
        """One step: the state at the next noise level, and the report of the step.

        Args:
          prior: the diffusion model.
          problem: the measurement.
          state: the state at step t.
          step: the coefficients of the step from t to s.
          key: a `jax.random` key, used for this step alone.
        """

    @abc.abstractmethod
    def image(self, state: State) -> Image:
        """The restored image, (H, W, C), from the last state."""

    def step_alone(self) -> "Stepwise":
        """The sampler whose `step` is called where each step is a program of its own.

        Fields that `step` does not read may have any values there. If they have always
        the same ones, one program serves all numbers of steps.
        """
        return self

    def estimate(self, state: State) -> PyTree | None:
        """What a blind sampler estimated of the measurement; None for others."""
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
    """A `Stepwise` sampler with a given number and spacing of steps.

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE).
      start: fraction of the schedule's noise levels to start at, in (0, 1], from `init`
        with that level's noise added (CCDF, appendix B of the paper). None starts at
        the last level from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      same_steps: True in a class whose `step` reads none of these fields, so that runs
        with `on_step` need not compile it again for other values. A subclass has to
        say so itself.

    Examples:
      >>> import pigdm_jax as pj
      >>> sampler = pj.samplers.DDIM(steps=4, start=0.5)
      >>> sampler.levels(pj.Schedule.linear())
      array([  0, 125, 250, 375, 500])
    """

    steps: int
    start: Any
    spacing: str
    same_steps = False

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_count("steps", self.steps)
        check_choice("spacing", self.spacing, SPACINGS)
        if self.start is not None:
            check_one_number(START, self.start, 0, 1, above=True)
        # Not every sampler has these fields.
        for name in ("eta", "temperature"):
            check_number(name, vars(self).get(name), 0, 1)
        check_number("scale", vars(self).get("scale"), 0)

    @property
    def evaluations(self) -> int:
        """Number of evaluations of the prior (NFE)."""
        return self.steps

    @property
    def default_init(self) -> str | None:  # type: ignore[override]
        """The pseudoinverse if `start` is given, else None."""
        return None if self.start is None else "pinv"

    def levels(self, schedule: Schedule) -> Int[np.ndarray, " n_plus_1"]:
        """The noise levels that `steps`, `start` and `spacing` give."""
        start = None
        if self.start is not None:
            start = max(round(self.start * schedule.num_steps), self.steps)
        return schedule.levels(self.steps, start, self.spacing)

    def step_alone(self) -> "Spaced":
        """This sampler, if `same_steps` with one value for `steps` and the others."""
        # A subclass may have another `step`.
        if not vars(type(self)).get("same_steps", False):
            return self
        changes = {"steps": 1, "start": None, "spacing": "uniform"}
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def begin(
        self, prior: Prior, problem: Problem, x: Image, step: Step, key: PRNGKey
    ) -> State:
        """The noisy sample itself."""
        del prior, problem, step, key
        return x

    def image(self, state: State) -> Image:
        """The sample itself."""
        return state
