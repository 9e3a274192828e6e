"""The sampling loop: a scan over noise levels, one evaluation of the prior a step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pigdm_jax.guidance import Step
from pigdm_jax.schedule import Schedule
from pigdm_jax.types import Image, ImageShape, Number, PRNGKey, Scalar

State = Any
"""What a method hands from step to step: a pytree, mostly the noisy sample itself."""


class StepTable(NamedTuple):
    """One row for each step, noisiest first; from the schedule alone, in float64.

    Attributes:
      index: 1 .. n, what the step's noise is keyed by.
      t: the network's step.
      a_t, b_t, a_s, b_s: alpha_bar and 1 - alpha_bar before and after the step.
      fresh: (1 - a_t / a_s) / (1 - a_t), the share of the noise after the step that
        is fresh at eta = 1.
      kept: 1 - fresh, which float32 could not tell from 0 at large steps.
    """

    index: Int[Array, " n"]
    t: Float[Array, " n"]
    a_t: Float[Array, " n"]
    b_t: Float[Array, " n"]
    a_s: Float[Array, " n"]
    b_s: Float[Array, " n"]
    fresh: Float[Array, " n"]
    kept: Float[Array, " n"]


def step_table(schedule: Schedule, levels: Int[np.ndarray, " n_plus_1"]) -> StepTable:
    """The table that visits noise levels from last to first; levels[0] is clean."""
    alpha_bar = schedule.alpha_bar_at_level[levels][::-1]
    a_t, a_s = alpha_bar[:-1], alpha_bar[1:]
    fresh = (1 - a_t / a_s) / (1 - a_t)
    kept = (a_t / a_s) * (1 - a_s) / (1 - a_t)
    columns = (levels[:0:-1] - 1, a_t, 1 - a_t, a_s, 1 - a_s, fresh, kept)
    return StepTable(
        jnp.arange(1, len(levels), dtype=jnp.int32),
        *(jnp.asarray(column, jnp.float32) for column in columns),
    )


def ddim_coefficients(row: StepTable, eta: Scalar, data_variance: Scalar) -> Step:
    """c1 and c2 of Algorithm 1 (DDIM's, Song et al. 2021), and r_t^2.

    c1 = eta sqrt((1 - a_t/a_s) (1 - a_s) / (1 - a_t)), c2 = sqrt(1 - a_s - c1^2),
    written without the cancellation.
    """
    c1 = eta * jnp.sqrt(row.b_s * row.fresh)
    c2 = jnp.sqrt(row.b_s * (row.kept + (1 - eta**2) * row.fresh))
    r2 = row.b_t * data_variance / (row.b_t + row.a_t * data_variance)
    return Step(row.t, row.a_t, row.b_t, row.a_s, row.b_s, c1, c2, r2)


class Trace(NamedTuple):
    """What happened in each of the n steps, noisiest first.

    Attributes:
      t: the network's step.
      residual: root mean square of y - h(x0_hat), in the measurement's own units.
      x0_norm: root mean square of x0_hat.
      guidance_norm: root mean square of the weighted gradient that was added.
      consistency: one number, root mean square of h(h+(y)) - y. Above rounding it
        tells that the pseudoinverse is approximate (a chain with non-linear parts,
        conjugate gradients that did not converge) or that no image measures y (noise).
    """

    t: Float[Array, " n"]
    residual: Float[Array, " n"]
    x0_norm: Float[Array, " n"]
    guidance_norm: Float[Array, " n"]
    consistency: Scalar | None = None


@partial(jax.jit, static_argnames="shape")
def starting_sample(
    key: PRNGKey, shape: ImageShape, alpha_bar: Number, init: Image | None
) -> Image:
    """Pure noise, or an image with the noise of its level added (CCDF, appendix B)."""
    z = jax.random.normal(jax.random.fold_in(key, 0), shape)
    if init is None:
        return z
    return jnp.sqrt(alpha_bar) * init + jnp.sqrt(1 - alpha_bar) * z


class Stepped(NamedTuple):
    """What one step of a method made.

    Attributes:
      state: what the next step begins with.
      x0: the prior's prediction.
      residual: root mean square of y - h(x0).
      correction: what the measurement added.
    """

    state: State
    x0: Image
    residual: Scalar
    correction: Image


def run(
    advance: Callable[[State, Step, PRNGKey], Stepped],
    state: State,
    key: PRNGKey,
    table: StepTable,
    *,
    eta: Scalar,
    data_variance: Scalar,
) -> tuple[State, Trace]:
    """Run the loop over the noise levels of a table.

    Args:
      advance: a method's step.
      state: what it begins with.
      key: the image's key; step i has fold_in(key, i).
      table: the steps.
      eta: 0 (deterministic) to 1.
      data_variance: of r_t^2.
    """

    def body(state: State, row: StepTable) -> tuple[State, Trace]:
        step = ddim_coefficients(row, eta, data_variance)
        made = advance(state, step, jax.random.fold_in(key, row.index))
        rms = [jnp.sqrt(jnp.mean(a**2)) for a in (made.x0, made.correction)]
        return made.state, Trace(row.t, made.residual, *rms)

    return jax.lax.scan(body, state, table)
