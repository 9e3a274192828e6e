"""Noise schedules: alpha_bar over the network's steps, and which steps to visit."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import AnyArray, Number

SPACINGS = ("uniform", "quadratic")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A variance-preserving schedule, x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) z.

    Noise *levels* run from 0 (clean, alpha_bar exactly 1) to T; level v > 0 is the
    network's step v - 1. A schedule is configuration: hashable, no pytree leaf, kept
    in float64, because 1 - alpha_bar loses four digits in float32 at the last steps.

    Attributes:
      betas: the T noise variances beta_1 .. beta_T, each in (0, 1).
    """

    betas: tuple[float, ...]

    @classmethod
    def from_betas(cls, betas: Sequence[float] | Float[AnyArray, " T"]) -> "Schedule":
        """A schedule with given beta_1 .. beta_T.

        Raises:
          ValueError: if there is none, or one is not between 0 and 1.
        """
        values = tuple(float(b) for b in np.asarray(betas, np.float64).ravel())
        if not values or not all(0 < b < 1 for b in values):
            raise ValueError("betas must be one or more numbers between 0 and 1")
        return cls(values)

    @classmethod
    def linear(cls, num_steps: int = 1000) -> "Schedule":
        """Betas linear from 1e-4 to 0.02 at 1000 steps, scaled by 1000 / num_steps.

        Reference: Ho et al. 2020; the default of ADM (Dhariwal and Nichol 2021).
        """
        scale = 1000 / num_steps
        return cls.from_betas(np.linspace(1e-4 * scale, 0.02 * scale, num_steps))

    @classmethod
    def cosine(cls, num_steps: int = 1000) -> "Schedule":
        """alpha_bar(u) = cos^2(pi/2 (u + 0.008) / 1.008), betas capped at 0.999.

        Reference: Nichol and Dhariwal 2021, equation 17.
        """
        u = np.arange(num_steps + 1) / num_steps
        alpha_bar = np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls.from_betas(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999))

    @classmethod
    def named(cls, name: str, num_steps: int = 1000) -> "Schedule":
        """The schedule called "linear" or "cosine".

        Raises:
          ValueError: if it is called anything else.
        """
        makers = {"linear": cls.linear, "cosine": cls.cosine}
        if name not in makers:
            raise ValueError(f"a schedule is linear or cosine, got {name!r}")
        return makers[name](num_steps)

    @property
    def num_steps(self) -> int:
        """T, the number of steps the network was trained on."""
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

        The variance that the paper gives to x0 around its prediction (appendix A.3,
        with data variance d = 1: then 1 - alpha_bar).
        """
        variance = self.sigma**2
        return variance * data_variance / (variance + data_variance)

    def levels(
        self, n: int, start: int | None = None, spacing: str = "uniform"
    ) -> Int[np.ndarray, " n_plus_1"]:
        """Noise levels 0 = v_0 < ... < v_n = start, for n evaluations of the network.

        Args:
          n: number of evaluations, 1 .. start.
          start: the noisiest level, 1 .. T; T when None.
          spacing: "uniform", v_i = round(i start / n); or "quadratic", (i / n)^2
            instead of i / n, denser at low noise.

        Raises:
          ValueError: if n, start or spacing is none of these.
        """
        start = self.num_steps if start is None else start
        if not 1 <= start <= self.num_steps:
            raise ValueError(
                f"start must be a noise level from 1 to {self.num_steps}, got {start}"
            )
        if not 1 <= n <= start:
            raise ValueError(
                f"steps must be from 1 to the starting level {start}, got {n}"
            )
        i = np.arange(n + 1)
        if spacing == "uniform":
            return np.rint(i * start / n).astype(int)
        if spacing == "quadratic":
            # Where the square would repeat a level, the next free one is taken.
            return np.maximum(np.rint((i / n) ** 2 * start).astype(int), i)
        raise ValueError(f"spacing is 'uniform' or 'quadratic', got {spacing!r}")


class Step(NamedTuple):
    """The numbers of one step t -> s, or of many, noisiest first.

    They come from the schedule alone; `b` stands for 1 - alpha_bar, kept exact.

    Attributes:
      index: 1 .. n, what the step's noise is keyed by.
      t: the network's step.
      a_t, b_t: alpha_bar and 1 - alpha_bar at t.
      a_s, b_s: the same at s; 1 and 0 in the last step.
      fresh: (1 - a_t / a_s) / (1 - a_t), the part of the noise variance after the step
        that is fresh at eta = 1.
      kept: 1 - fresh, which float32 could not tell from 0 at large steps.
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
    """The steps that visit noise levels from last to first, computed in float64.

    Args:
      schedule: of the prior.
      levels: rising; levels[0] is where the last step arrives, 0 for the clean image.

    Returns:
      A row for each step, as NumPy arrays in float32.
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
    """The step from one noise level, 1 .. T, to a lower one; its index is 1."""
    table = step_table(schedule, np.array([following, level]))
    return jax.tree.map(lambda column: column[0], table)


def r2(step: Step, data_variance: Number = 1.0) -> jax.Array:
    """r_t^2 = sigma_t^2 d / (sigma_t^2 + d), the variance given to x0 at t."""
    return step.b_t * data_variance / (step.a_t * data_variance + step.b_t)


def alpha_bar_at(schedule: Schedule, t: Number) -> Float[Array, " 2"]:
    """(alpha_bar, 1 - alpha_bar) at step t, between steps by linear interpolation."""
    table = np.stack([schedule.alpha_bar, 1 - schedule.alpha_bar], axis=-1)
    steps = jnp.arange(schedule.num_steps, dtype=jnp.float32)
    at = jnp.asarray(t, jnp.float32)
    return jax.vmap(lambda column: jnp.interp(at, steps, column))(
        jnp.asarray(table.T, jnp.float32)
    )


def as_schedule(schedule: Schedule | str) -> Schedule:
    """A schedule, or the one that a name stands for."""
    return Schedule.named(schedule) if isinstance(schedule, str) else schedule
