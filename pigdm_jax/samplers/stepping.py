"""Running a stepwise sampler: in one `jax.lax.scan`, or step by step."""

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pigdm_jax.core.compilation import tuned_jit, typed_jit
from pigdm_jax.core.types import Image, Number, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Problem, root_mean_square
from pigdm_jax.samplers.records import Info, OnStep, Trace
from pigdm_jax.samplers.starting import starting_image, starting_sample

if TYPE_CHECKING:
    import pigdm_jax.samplers.base

State = Any
"""What a sampler passes from step to step: any pytree, often the noisy sample."""


class Start(NamedTuple):
    """Where a sampler starts.

    Attributes:
      index: the number that is folded into the key for `Stepwise.begin`.
      alpha_bar: at the first noise level.
      init: an image, (H, W, C), or None for the sampler's `default_init`.
    """

    index: Int[Array, ""] | np.integer  # type: ignore[assignment]
    alpha_bar: Number
    init: Image | None


def _begin(
    sampler: "pigdm_jax.samplers.base.Stepwise",
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    start: Start,
    first: Step,
) -> State:
    """The state at the first level."""
    init = start.init
    if init is None and sampler.default_init is not None:
        init = starting_image(problem, sampler.default_init)
    x = starting_sample(key, problem.operator.image_shape, start.alpha_bar, init)
    own = jax.random.fold_in(key, start.index)
    return sampler.begin(prior, problem, x, first, own)


def _end(
    sampler: "pigdm_jax.samplers.base.Stepwise", state: State, rows: Trace
) -> tuple[Image, Trace]:
    """The image and the trace, from the last state."""
    return sampler.image(state), rows._replace(estimate=sampler.estimate(state))


@tuned_jit
def run(
    sampler: "pigdm_jax.samplers.base.Stepwise",
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    start: Start,
    table: Step,
) -> tuple[Image, Trace]:
    """Run all steps of a table, noisiest first, in one program."""

    def body(state: State, step: Step) -> tuple[State, Trace]:
        state, _, row = _take_step(sampler, prior, problem, state, key, step)
        return state, row

    first = jax.tree.map(itemgetter(0), table)
    state = _begin(sampler, prior, problem, key, start, first)
    return _end(sampler, *jax.lax.scan(body, state, table))


def _take_step(
    sampler: "pigdm_jax.samplers.base.Stepwise",
    prior: Prior,
    problem: Problem,
    state: State,
    key: PRNGKey,
    step: Step,
) -> tuple[State, Info, Trace]:
    """One step with its own key, and its entry in the trace."""
    own = jax.random.fold_in(key, step.index)
    state, info = sampler.step(prior, problem, state, step, own)
    rms = [root_mean_square(a) for a in (info.x0, info.correction)]
    return state, info, Trace(step.t, info.residual, *rms)


def check_untraced(arguments: Any) -> None:
    """Check that `on_step` can be called between programs.

    Raises:
      ValueError: under `jit` or `vmap`.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
        raise ValueError("on_step is called between steps, so not under jit or vmap")


_begin_alone = typed_jit(_begin)
_one_step = tuned_jit(_take_step)


@typed_jit
def _end_alone(
    sampler: "pigdm_jax.samplers.base.Stepwise", state: State, rows: list[Trace]
) -> tuple[Image, Trace]:
    return _end(sampler, state, jax.tree.map(lambda *row: jnp.stack(row), *rows))


def run_by_steps(
    sampler: "pigdm_jax.samplers.base.Stepwise",
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    start: Start,
    table: Step,
    on_step: OnStep,
) -> tuple[Image, Trace]:
    """Run the same steps by separate calls of one compiled step.

    JAX does not cache compiled programs that contain a Python callback, so `on_step`
    cannot be called within one.

    Raises:
      ValueError: under `jit` or `vmap`.
    """
    check_untraced((prior, problem, key, start))
    steps = [jax.tree.map(itemgetter(i), table) for i in range(len(table.index))]
    state = _begin_alone(sampler, prior, problem, key, start, steps[0])
    rows, alone = [], sampler.step_alone()
    for i, step in enumerate(steps):
        state, info, row = _one_step(alone, prior, problem, state, key, step)
        rows.append(row)
        jax.block_until_ready(state)
        on_step(i + 1, info)
    return _end_alone(sampler, state, rows)
