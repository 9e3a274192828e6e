"""What a sampler is, and the loop over noise levels that most of them are."""

import abc
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from pigdm_jax.core.checks import as_float32, check_choice, check_count, check_number
from pigdm_jax.core.compilation import tuned_jit, typed_jit
from pigdm_jax.core.numerics import root
from pigdm_jax.core.text_form import TextForm
from pigdm_jax.core.types import Image, ImageShape, Number, PRNGKey, Scalar
from pigdm_jax.guidance.base import Denoised, Guided, denoise
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import SPACINGS, Schedule, Step, step_rows
from pigdm_jax.problem import Needs, Problem, measurement_residual, root_mean_square

State = Any
"""What a sampler hands from step to step: a pytree, mostly the noisy sample itself."""


class Info(NamedTuple):
    """What one step did.

    Attributes:
      x0: the prior's prediction of the clean image.
      residual: root mean square of y - h(x0), in the measurement's own units.
      correction: what the measurement added to the sample or its prediction.
    """

    x0: Image
    residual: Scalar
    correction: Image


OnStep = Callable[[int, Info], None]


class Trace(NamedTuple):
    """What happened in each of the n steps, noisiest first.

    Attributes:
      t: the network's step.
      residual: root mean square of y - h(x0_hat), in the measurement's own units.
      x0_norm: root mean square of x0_hat.
      guidance_norm: root mean square of what the measurement added.
      consistency: one number, root mean square of h(h+(y)) - y. Above rounding it
        tells that the pseudoinverse is approximate (a chain with non-linear parts,
        conjugate gradients that did not converge) or that no image measures y (noise).
      estimate: what a blind sampler found out about the measurement.
    """

    t: Float[Array, "*batch n"]
    residual: Float[Array, "*batch n"]
    x0_norm: Float[Array, "*batch n"]
    guidance_norm: Float[Array, "*batch n"]
    consistency: Float[Array, "*batch"] | None = None
    estimate: PyTree | None = None


class Sampler(TextForm):
    """A way to sample the image behind a measurement; a frozen pytree.

    A sampler receives a prior and a problem and owns neither. Numbers are leaves;
    words and counts are static fields.

    Attributes:
      needs: what it asks of a problem.
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
        """What a blind sampler found out about the measurement."""
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
            return _run(sampler, prior, problem, key, start, table)
        return _run_by_steps(sampler, prior, problem, key, start, table, on_step)


class Spaced(Stepwise):
    """A `Stepwise` sampler of which users choose steps, start and spacing.

    Attributes:
      steps: evaluations of the prior (NFE).
      start: begin at this part of the schedule's noise levels, in (0, 1], from `init`
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
                "start is a part of the schedule's noise levels, above 0 and at most "
                f"1; got {self.start}"
            )
        # Not every sampler has them.
        check_number("eta", vars(self).get("eta"), 0, 1)
        check_number("scale", vars(self).get("scale"), 0)

    @property
    def evaluations(self) -> int:
        """Evaluations of the prior in all (NFE)."""
        return self.steps

    @property
    def default_init(self) -> str | None:
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


class Start(NamedTuple):
    """Where a sampler begins.

    Attributes:
      index: what the first sample's key is folded with.
      alpha_bar: at the first level.
      init: an image, or None for the sampler's own beginning.
    """

    index: Int[Array, ""] | np.integer
    alpha_bar: Number
    init: Image | None


def _begin(
    sampler: Stepwise,
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


def _end(sampler: Stepwise, state: State, rows: Trace) -> tuple[Image, Trace]:
    """The image and the trace, from the last state."""
    return sampler.image(state), rows._replace(estimate=sampler.estimate(state))


@tuned_jit
def _run(
    sampler: Stepwise,
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    start: Start,
    table: Step,
) -> tuple[Image, Trace]:
    """All steps of a table, noisiest first."""

    def body(state: State, step: Step) -> tuple[State, Trace]:
        state, _, row = _take_step(sampler, prior, problem, state, key, step)
        return state, row

    first = jax.tree.map(itemgetter(0), table)
    state = _begin(sampler, prior, problem, key, start, first)
    return _end(sampler, *jax.lax.scan(body, state, table))


def _take_step(
    sampler: Stepwise,
    prior: Prior,
    problem: Problem,
    state: State,
    key: PRNGKey,
    step: Step,
) -> tuple[State, Info, Trace]:
    """One step with its own key, and its row of the trace."""
    own = jax.random.fold_in(key, step.index)
    state, info = sampler.step(prior, problem, state, step, own)
    rms = [root_mean_square(a) for a in (info.x0, info.correction)]
    return state, info, Trace(step.t, info.residual, *rms)


_begin_alone = typed_jit(_begin)
_one_step = tuned_jit(_take_step)


@typed_jit
def _end_alone(
    sampler: Stepwise, state: State, rows: list[Trace]
) -> tuple[Image, Trace]:
    return _end(sampler, state, jax.tree.map(lambda *row: jnp.stack(row), *rows))


def _run_by_steps(
    sampler: Stepwise,
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    start: Start,
    table: Step,
    on_step: OnStep,
) -> tuple[Image, Trace]:
    """The same steps, one call each, of one program.

    A callback inside the program would keep it out of JAX's compilation cache.

    Raises:
      ValueError: under `jit` or `vmap`.
    """
    leaves = jax.tree.leaves((prior, problem, key, start))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        raise ValueError("on_step is called between steps, so not under jit or vmap")
    steps = [jax.tree.map(itemgetter(i), table) for i in range(len(table.index))]
    state = _begin_alone(sampler, prior, problem, key, start, steps[0])
    rows = []
    for i, step in enumerate(steps):
        state, info, row = _one_step(sampler, prior, problem, state, key, step)
        rows.append(row)
        jax.block_until_ready(state)
        on_step(i + 1, info)
    return _end_alone(sampler, state, rows)


def starting_sample(
    key: PRNGKey, shape: ImageShape, alpha_bar: Number, init: Image | None
) -> Image:
    """Pure noise, or an image with the noise of its level added (CCDF, appendix B)."""
    z = jax.random.normal(jax.random.fold_in(key, 0), shape)
    if init is None:
        return z
    return jnp.sqrt(alpha_bar) * init + jnp.sqrt(1 - alpha_bar) * z


def starting_image(problem: Problem, init: str | Image) -> Image:
    """The image that `init` stands for.

    Args:
      problem: what was measured.
      init: "pinv", "upsample" (the measurement enlarged linearly) or an image.

    Raises:
      ValueError: if it is none of these, or does not suit the problem.
    """
    operator, y = problem.operator, problem.y
    if not isinstance(init, str):
        if jnp.shape(init) != operator.image_shape:
            raise ValueError(
                f"init has shape {jnp.shape(init)}, the operator's images are "
                f"{operator.image_shape}"
            )
        return jnp.asarray(init, jnp.float32)
    if init == "pinv":
        return damped_pinv(operator, y, problem.noise_std, 1.0)
    if init == "upsample":
        shape, channels = operator.measurement_shape, operator.image_shape[2]
        if len(jax.tree.leaves(y)) != 1 or len(shape) != 3 or shape[2] != channels:
            raise ValueError(
                "init='upsample' needs a measurement that is a picture with as many "
                f"channels as the image; this one has shape {shape}"
            )
        return jax.image.resize(y, operator.image_shape, "linear")
    raise ValueError(f"init is 'pinv', 'upsample' or an image, got {init!r}")


def ddim_coefficients(step: Step, eta: Number) -> tuple[Scalar, Scalar]:
    """c1 and c2 of Algorithm 1 (DDIM's, Song et al. 2021).

    c1 = eta sqrt((1 - a_t/a_s) (1 - a_s) / (1 - a_t)), c2 = sqrt(1 - a_s - c1^2),
    written without the cancellation.
    """
    c1 = eta * root(step.b_s * step.fresh)
    c2 = root(step.b_s * (step.kept + (1 - eta**2) * step.fresh))
    return c1, c2


def ddim(x0: Image, eps: Image, step: Step, eta: Number, key: PRNGKey) -> Image:
    """x_s = sqrt(a_s) x0 + c1 z + c2 eps, with fresh noise z."""
    c1, c2 = ddim_coefficients(step, eta)
    z = jax.random.normal(key, x0.shape)
    return jnp.sqrt(step.a_s) * x0 + c1 * z + c2 * eps


def renoise(x_t: Image, x0: Image, step: Step, eta: Number, key: PRNGKey) -> Image:
    """The sample x_s from an x0 that was changed: fresh noise and what x_t says of it.

    x_s = sqrt(a_s) x0 + sqrt(1 - a_s) (eta z + sqrt(1 - eta^2) eps), with the eps that
    makes x_t of x0 (Zhu et al. 2023, DiffPIR, equation 15).
    """
    eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    z = jax.random.normal(key, x_t.shape)
    noise = eta * z + root(1 - eta**2) * eps
    return jnp.sqrt(step.a_s) * x0 + root(step.b_s) * noise


def correction_of(guided: Guided, step: Step, eta: Number) -> Image:
    """The term w g: what guidance adds to DDIM's x_s."""
    _, c2 = ddim_coefficients(step, eta)
    return jnp.sqrt(step.a_s) * (guided.guided_x0 - guided.x0) + c2 * (
        guided.guided_eps - guided.eps
    )


def evaluate(
    prior: Prior, problem: Problem, x_t: Image, step: Step
) -> tuple[Denoised, Scalar]:
    """One evaluation of the prior, and the residual of its prediction."""
    denoised = denoise(prior, x_t, step)
    return denoised, measurement_residual(problem, denoised.x0)
