"""Noise schedules: alpha_bar at the network's steps, and the steps to visit."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pigdm_jax.core.arrays import as_numbers
from pigdm_jax.core.brief import brief_repr
from pigdm_jax.core.checks import check_choice, check_count, given
from pigdm_jax.core.types import AnyArray, Number

SPACINGS = ("uniform", "quadratic")
MOST_STEPS = 10**6


@dataclasses.dataclass(frozen=True, repr=False)
class Schedule:
    """A variance-preserving schedule, x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) z.

    Noise *levels* are numbered from 0 (clean, alpha_bar exactly 1) to T; level v > 0 is
    the network's step v - 1. A schedule is static configuration: hashable, and no
    pytree. It is computed in float64, because 1 - alpha_bar loses four digits in
    float32 at low noise.

    Attributes:
      betas: the T noise variances beta_1 .. beta_T, each in (0, 1).

    Examples:
      >>> import pigdm_jax as pj
      >>> schedule = pj.Schedule.linear()
      >>> schedule.num_steps, round(float(schedule.alpha_bar[0]), 6)
      (1000, 0.9999)
      >>> schedule.levels(4)
      array([   0,  250,  500,  750, 1000])
    """

    betas: tuple[float, ...]

    __repr__ = brief_repr

    @classmethod
    def from_betas(cls, betas: Sequence[float] | Float[AnyArray, " T"]) -> "Schedule":
        """A schedule with given beta_1 .. beta_T.

        Raises:
          ValueError: if there are none, or one is not between 0 and 1.
        """
        values = tuple(float(b) for b in as_numbers("betas", betas).ravel())
        if not values or not all(0 < b < 1 for b in values):
            raise ValueError("betas must be one or more numbers between 0 and 1")
        return cls(values)

    @classmethod
    def linear(cls, num_steps: int = 1000) -> "Schedule":
        """Betas linear from 1e-4 to 0.02 for T = 1000, scaled by 1000 / T for others.

        Args:
          num_steps: T.

        Reference: Ho et al. 2020; the default of ADM (Dhariwal and Nichol 2021).
        """
        # With fewer, beta_T would be 1 or more.
        check_count("num_steps of a linear schedule", num_steps, 21, MOST_STEPS)
        scale = 1000 / num_steps
        return cls.from_betas(np.linspace(1e-4 * scale, 0.02 * scale, num_steps))

    @classmethod
    def cosine(cls, num_steps: int = 1000) -> "Schedule":
        """alpha_bar(u) = cos^2(pi/2 (u + 0.008) / 1.008), with betas of at most 0.999.

        Args:
          num_steps: T; u = 0, 1 / T, .. 1.

        Reference: Nichol and Dhariwal 2021, equation 17.
        """
        check_count("num_steps", num_steps, 1, MOST_STEPS)
        u = np.arange(num_steps + 1) / num_steps
        alpha_bar = np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls.from_betas(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999))

    @classmethod
    def named(cls, name: str, num_steps: int = 1000) -> "Schedule":
        """The schedule with a name, "linear" or "cosine".

        Raises:
          ValueError: for any other name.
        """
        makers = {"linear": cls.linear, "cosine": cls.cosine}
        if not isinstance(name, str) or name not in makers:
            raise ValueError(f"schedule must be linear or cosine, got {given(name)}")
        return makers[name](num_steps)

    @property
    def num_steps(self) -> int:
        """T, the number of noise levels that the network was trained on."""
        return len(self.betas)

    @functools.cached_property
    def alpha_bar_at_level(self) -> Float[np.ndarray, " T_plus_1"]:
        """alpha_bar at levels 0 .. T; 1 at level 0."""
        return np.cumprod(np.concatenate([[1.0], 1 - np.array(self.betas)]))

    @property
    def alpha_bar(self) -> Float[np.ndarray, " T"]:
        """alpha_bar at the network's steps 0 .. T - 1."""
        return self.alpha_bar_at_level[1:]

    @property
    def sigma(self) -> Float[np.ndarray, " T"]:
        """sigma_t = sqrt((1 - alpha_bar) / alpha_bar) at the network's steps."""
        return np.sqrt((1 - self.alpha_bar) / self.alpha_bar)

    def r2(self, data_variance: float = 1.0) -> Float[np.ndarray, " T"]:
        """r_t^2 = sigma_t^2 d / (sigma_t^2 + d) at the network's steps.

        This is the variance of x0 given x_t if x0 has variance d and mean 0; it is
        1 - alpha_bar for d = 1 (appendix A.3 of the paper).
        """
        variance = self.sigma**2
        return variance * data_variance / (variance + data_variance)

    def levels(
        self, n: int, start: int | None = None, spacing: str = "uniform"
    ) -> Int[np.ndarray, " n_plus_1"]:
        """Noise levels 0 = v_0 < ... < v_n = start, for n evaluations of the network.

        Args:
          n: number of evaluations, 1 .. start.
          start: the noisiest level, 1 .. T; None is T.
          spacing: "uniform", v_i = round(start i / n), or "quadratic",
            v_i = max(i, round(start (i / n)^2)), denser at low noise.

        Raises:
          ValueError: if n, start or spacing is out of range.
        """
        start = self.num_steps if start is None else start
        check_count("start", start)
        if start > self.num_steps:
            raise ValueError(
                f"start must be a noise level from 1 to {self.num_steps}, got {start}"
            )
        if not isinstance(n, int | np.integer) or not 1 <= n <= start:
            raise ValueError(
                f"steps must be from 1 to the starting level {start}, got {given(n)}"
            )
        check_choice("spacing", spacing, SPACINGS)
        i = np.arange(n + 1)
        if spacing == "uniform":
            return np.rint(i * start / n).astype(int)
        # The maximum keeps levels distinct where the square would repeat one.
        return np.maximum(np.rint((i / n) ** 2 * start).astype(int), i)


class Step(NamedTuple):
    """The coefficients of a step from noise level t to s, or of many, noisiest first.

    They depend on the schedule alone. Differences such as 1 - alpha_bar are computed in
    float64 and then rounded to float32.

    Attributes:
      index: 1 .. n; the step's key is `fold_in(key, index)`.
      t: the network's step, 0 .. T - 1.
      a_t, b_t: alpha_bar and 1 - alpha_bar at t.
      a_s, b_s: the same at s; 1 and 0 in the last step.
      fresh: (1 - a_t / a_s) / (1 - a_t), the fraction of the noise variance at s that
        is fresh if eta = 1.
      kept: 1 - fresh.

    Examples:
      >>> import pigdm_jax as pj
      >>> step = pj.priors.schedule.step_at(pj.Schedule.linear(), 500)
      >>> float(step.t), float(step.a_s), float(step.b_s)
      (499.0, 1.0, 0.0)
    """

    index: Int[Array, "..."]  # type: ignore[assignment]  # not tuple.index
    t: Float[Array, "..."]
    a_t: Float[Array, "..."]
    b_t: Float[Array, "..."]
    a_s: Float[Array, "..."]
    b_s: Float[Array, "..."]
    fresh: Float[Array, "..."]
    kept: Float[Array, "..."]


def step_rows(schedule: Schedule, levels: Int[np.ndarray, " n_plus_1"]) -> Step:
    """The steps between consecutive noise levels, from the last level to the first.

    Args:
      schedule: of the prior.
      levels: n + 1 increasing noise levels; the last step ends at levels[0], which is 0
        for the clean image.

    Returns:
      A `Step` of NumPy arrays of length n: float32, and int32 for `index`.
    """
    alpha_bar = schedule.alpha_bar_at_level[levels][::-1]
    a_t, a_s = alpha_bar[:-1], alpha_bar[1:]
    fresh = (1 - a_t / a_s) / (1 - a_t)
    kept = (a_t / a_s) * (1 - a_s) / (1 - a_t)
    columns = (levels[:0:-1] - 1, a_t, 1 - a_t, a_s, 1 - a_s, fresh, kept)
    index: Any = np.arange(1, len(levels), dtype=np.int32)
    rest: Any = (column.astype(np.float32) for column in columns)
    return Step(index, *rest)


def step_table(schedule: Schedule, levels: Int[np.ndarray, " n_plus_1"]) -> Step:
    """`step_rows` as JAX arrays."""
    return jax.tree.map(jnp.asarray, step_rows(schedule, levels))


def step_at(schedule: Schedule, level: int, following: int = 0) -> Step:
    """The step from one noise level, 1 .. T, to a lower one; its index is 1.

    For samplers that evaluate the prior at levels other than those they visit.
    """
    table = step_table(schedule, np.array([following, level]))
    return jax.tree.map(lambda column: column[0], table)


def r2(step: Step, data_variance: Number = 1.0) -> jax.Array:
    """r_t^2 = sigma_t^2 d / (sigma_t^2 + d) at t; see `Schedule.r2`."""
    return step.b_t * data_variance / (step.a_t * data_variance + step.b_t)


def alpha_bar_at(schedule: Schedule, t: Number) -> Float[Array, " 2"]:
    """(alpha_bar, 1 - alpha_bar) at step t, linearly interpolated between steps."""
    table = np.stack([schedule.alpha_bar, 1 - schedule.alpha_bar], axis=-1)
    steps = jnp.arange(schedule.num_steps, dtype=jnp.float32)
    at = jnp.asarray(t, jnp.float32)
    return jax.vmap(lambda column: jnp.interp(at, steps, column))(
        jnp.asarray(table.T, jnp.float32)
    )


def as_schedule(schedule: Schedule | str) -> Schedule:
    """The schedule itself, or the one with this name."""
    return schedule if isinstance(schedule, Schedule) else Schedule.named(schedule)
