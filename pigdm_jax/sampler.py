"""The sampling loop: a scan over noise levels, one network evaluation a step."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pigdm_jax.guidance import Guided, Step, Weight
from pigdm_jax.schedule import Schedule
from pigdm_jax.types import Image, ImageShape, Number, PRNGKey, Scalar


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


def ddim_step(guided: Guided, step: Step, z: Image) -> Image:
    """x_s = sqrt(a_s) x0 + c1 z + c2 eps, before any guidance."""
    return jnp.sqrt(step.a_s) * guided.x0 + step.c1 * z + step.c2 * guided.eps


SAMPLERS = {"ddim": ddim_step}


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


def run(
    guide: Callable[[Image, Step], Guided],
    x: Image,
    key: PRNGKey,
    table: StepTable,
    *,
    eta: Scalar,
    data_variance: Scalar,
    weight: Weight,
    scale: Scalar,
    sampler: str = "ddim",
) -> tuple[Image, Trace]:
    """Run the loop from a noisy sample to a clean image.

    Args:
      guide: evaluates prior and operator at (x_t, step).
      x: the sample at the noisiest level.
      key: the image's key; step i uses fold_in(key, i).
      table: the steps.
      eta: 0 (deterministic) to 1.
      data_variance: of r_t^2.
      weight: what the gradient is multiplied by.
      scale: a further factor, w_r of the "vdm" weight.
      sampler: a name in `SAMPLERS`.
    """
    take_step = SAMPLERS[sampler]

    def body(x_t: Image, row: StepTable) -> tuple[Image, Trace]:
        step = ddim_coefficients(row, eta, data_variance)
        guided = guide(x_t, step)
        z = jax.random.normal(jax.random.fold_in(key, row.index), x_t.shape)
        correction = weight(step, scale) * guided.gradient
        x_s = take_step(guided, step, z) + correction
        rms = [jnp.sqrt(jnp.mean(a**2)) for a in (guided.x0, correction)]
        return x_s, Trace(row.t, guided.residual, *rms)

    return jax.lax.scan(body, x, table)
