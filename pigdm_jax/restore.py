"""Restore an image: check the request, then run the sampler, jitted."""

from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from pigdm_jax.compilation import tuned_jit
from pigdm_jax.guidance import (
    GUIDANCES,
    LINEAR_GUIDANCES,
    WEIGHTS,
    default_weight,
    measurement_residual,
)
from pigdm_jax.methods import METHODS, PIGDM, SAMPLERS
from pigdm_jax.methods.base import Method, Problem
from pigdm_jax.methods.rule import Rule
from pigdm_jax.operators import chain, crop
from pigdm_jax.operators.base import Operator
from pigdm_jax.prior import Prior
from pigdm_jax.sampler import (
    State,
    StepTable,
    Trace,
    ddim_coefficients,
    run,
    starting_sample,
    step_table,
)
from pigdm_jax.types import Image, ImageShape, Measurement, Number, PRNGKey, Scalar


def restore(
    prior: Prior,
    operator: Operator,
    y: Measurement,
    key: PRNGKey,
    *,
    method: str = "pigdm",
    steps: int = 100,
    eta: Number | None = None,
    noise_std: Number = 0.0,
    weight: str | None = None,
    scale: Number = 1.0,
    data_variance: Number = 1.0,
    lam: Number = 0.0,
    start: int | None = None,
    init: str | Image | None = None,
    spacing: str = "uniform",
    guidance: str | None = None,
    sampler: str = "ddim",
    clip: bool = False,
    trace: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Image | tuple[Image, Trace]:
    """One sample of the image behind a measurement, by PiGDM or another method.

    Pure and jitted: it compiles once for each shape, number of steps and set of words,
    not again for another image, mask, kernel, key, eta or noise level. Batches come
    from `jax.vmap` over keys, measurements, operators or priors.

    An image whose size does not suit the prior is restored as the corner of a larger
    one, of which the operator sees only that corner.

    Args:
      prior: the diffusion model.
      operator: how the measurement was made.
      y: the measurement, as `operator.apply` gives it.
      key: the image's own `jax.random` key; same key, same image, whatever the batch.
      method: "pigdm", or one to compare it with: "reconstruction", "dps", "ddrm",
        "ddnm", "diffpir", "red_diff", "snips", "pnp" or "ccdf" (a file each in
        `pigdm_jax.methods`).
      steps: evaluations of the network (NFE); with "pigdm", "dps" and "reconstruction"
        each has one vector-Jacobian product.
      eta: 0 (deterministic DDIM) to 1 (DDPM-like); None is the method's own, 1 for
        "pigdm". Some methods have none.
      noise_std: standard deviation of the measurement's noise, sigma_y, in units of
        the [-1, 1] image: twice that of a [0, 1] image. Linear operators only.
      weight: "adaptive" (the paper's), "algorithm1", "vdm" or "posterior"; None is
        "posterior" with calibrated and moment guidance, else "adaptive".
      scale: a further factor on the weight, w_r of "vdm"; the strength of the other
        methods, 1 being their papers'.
      data_variance: d in r_t^2 = sigma_t^2 d / (sigma_t^2 + d).
      lam: lambda of the conjugate sampler, from 0 to 1.
      start: begin at this noise level (1 .. T) instead of T, from `init` with the
        level's noise added: the CCDF start of the paper's appendix B. "pnp", "ccdf"
        and the conjugate sampler begin late by themselves.
      init: "pinv" (the default when `start` is given), "upsample" (the measurement
        enlarged linearly) or an image in [-1, 1].
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      guidance: "pseudoinverse" (the paper's); "reconstruction" (transpose instead);
        "moment" (the network's own covariance of x0 instead of r_t^2 I: nearer the
        posterior, by up to ten vector-Jacobian products a step); or "calibrated" (of
        these the first: the pseudoinverse's direction as long as that covariance
        tells, for nothing). None is the paper's; but "calibrated" for linear operators
        with the fitted sampler, unless a weight is given.
      sampler: "ddim" (the paper's); "fitted" (for few steps: the prediction fitted to
        the measurement, then noised anew); "multistep" (second order); or "conjugate"
        (what is linear integrated exactly; eta 0, linear operators). All are of
        "pigdm", as are `weight`, `guidance` and `clip`.
      clip: clip x0_hat to [-1, 1], outside of the gradient.
      trace: also return the per-step `Trace`.
      on_step: called after every step with its number, 1 .. steps, for a progress bar;
        the steps are then separate calls, and not for use under `jit` or `vmap`.

    Returns:
      The image, (height, width, channels) about [-1, 1] and not clipped; with `trace`
      a pair of it and the trace.

    Raises:
      ValueError: if the request makes no sense, before anything is computed.

    Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023.
    """
    words = _chosen(operator, method, guidance, weight, sampler, clip)
    levels = check_request(
        prior,
        operator,
        y,
        method=method,
        steps=steps,
        eta=eta,
        noise_std=noise_std,
        weight=weight,
        start=start,
        spacing=spacing,
        guidance=guidance,
        sampler=sampler,
        clip=clip,
    )
    chosen = words.method
    image_shape = operator.image_shape
    working = working_shape(prior, image_shape)
    late = start is not None or chosen.start is not None
    start_image = _starting_image(operator, y, late, init, noise_std)
    if working != image_shape:
        height, width = image_shape[:2]
        if start_image is not None:
            pad = [(0, big - n) for big, n in zip(working, image_shape, strict=True)]
            start_image = jnp.pad(start_image, pad, mode="edge")
        operator = chain(crop(working, height, width), operator)

    eta = (chosen.eta or 0.0) if eta is None else eta
    y = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), y)
    numbers = (noise_std, eta, scale, lam)
    problem = Problem(
        prior,
        operator,
        y,
        *(jnp.asarray(number, jnp.float32) for number in numbers),
    )
    alpha_bar = prior.schedule.alpha_bar_at_level[levels[-1]]
    x = starting_sample(key, working, alpha_bar, start_image)
    table = step_table(prior.schedule, levels)
    data_variance = jnp.asarray(data_variance, jnp.float32)
    state = _begin(problem, x, table, data_variance, words=words)
    advance = partial(_advance, problem, key, data_variance, words=words)
    if on_step is None:
        state, record = advance(state, table)
    else:
        state, record = _step_by_step(advance, state, table, on_step)
    image = chosen.image(state)[: image_shape[0], : image_shape[1]]
    if not trace:
        return image
    return image, record._replace(consistency=_consistency(operator, y))


class _Words(NamedTuple):
    """The words that choose a method, known when it is compiled."""

    name: str
    guidance: str
    weight: str
    sampler: str
    clip: bool

    @property
    def method(self) -> Method:
        if self.name != PIGDM:
            return METHODS[self.name]
        rule = Rule(GUIDANCES[self.guidance], WEIGHTS[self.weight], self.clip)
        return SAMPLERS[self.sampler](rule)


def _chosen(
    operator: Operator,
    method: str,
    guidance: str | None,
    weight: str | None,
    sampler: str,
    clip: bool,
) -> _Words:
    """The words with their defaults filled in; see `restore`."""
    if guidance is None:
        few = sampler == "fitted" and weight is None and operator.linear
        guidance = "calibrated" if few else "pseudoinverse"
    return _Words(method, guidance, weight or default_weight(guidance), sampler, clip)


@partial(jax.jit, static_argnames="words")
def _begin(
    problem: Problem,
    x: Image,
    table: StepTable,
    data_variance: Scalar,
    *,
    words: _Words,
) -> State:
    """What the first step begins with."""
    first = jax.tree.map(itemgetter(0), table)
    step = ddim_coefficients(first, problem.eta, data_variance)
    return words.method.begin(problem, x, step)


@partial(tuned_jit, static_argnames="words")
def _advance(
    problem: Problem,
    key: PRNGKey,
    data_variance: Scalar,
    state: State,
    table: StepTable,
    *,
    words: _Words,
) -> tuple[State, Trace]:
    """Take the steps of a table, from a state at the noise level of its first row."""
    return run(
        partial(words.method.step, problem),
        state,
        key,
        table,
        eta=problem.eta,
        data_variance=data_variance,
    )


def _step_by_step(
    advance: Callable[[State, StepTable], tuple[State, Trace]],
    state: State,
    table: StepTable,
    on_step: Callable[[int], None],
) -> tuple[State, Trace]:
    """The same steps, one call each: one program for any number of them.

    A callback inside the program would keep it out of JAX's compilation cache.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(state)):
        raise ValueError("on_step is called between steps, so not under jit or vmap")
    records = []
    for i in range(len(table.index)):
        row = jax.tree.map(itemgetter(slice(i, i + 1)), table)
        state, record = advance(state, row)
        records.append(record)
        jax.block_until_ready(state)
        on_step(i + 1)
    return state, jax.tree.map(lambda *rows: jnp.concatenate(rows), *records)


@jax.jit
def _consistency(operator: Operator, y: Measurement) -> Scalar:
    return measurement_residual(operator, y, operator.pinv(y))


def working_shape(prior: Prior, image_shape: ImageShape) -> ImageShape:
    """The shape a prior runs at for an image: its own, or the next multiple up.

    Raises:
      ValueError: if the prior is for smaller images or for other channels.
    """
    if prior.image_shape is not None:
        fits = image_shape[2] == prior.image_shape[2] and all(
            n <= own for n, own in zip(image_shape, prior.image_shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"this prior is for images up to {prior.image_shape}, the operator is "
                f"for {image_shape}"
            )
        return prior.image_shape
    height, width, channels = image_shape
    m, smallest = getattr(prior, "multiple", 1), getattr(prior, "smallest", 1)
    height, width = (max(-(-n // m) * m, smallest) for n in (height, width))
    return (height, width, channels)


def _starting_image(
    operator: Operator,
    y: Measurement,
    late: bool,
    init: str | Image | None,
    noise_std: Any,
) -> Image | None:
    """The image to start from, or None for pure noise."""
    if init is None:
        if not late:
            return None
        init = "pinv"
    if not isinstance(init, str):
        if init.shape != operator.image_shape:
            raise ValueError(
                f"init has shape {init.shape}, the operator's images are "
                f"{operator.image_shape}"
            )
        return jnp.asarray(init, jnp.float32)
    if init == "pinv":
        damping = noise_std**2 if operator.linear else 0.0
        return operator.pinv(y, damping)
    if init == "upsample":
        shape, channels = operator.measurement_shape, operator.image_shape[2]
        if len(jax.tree.leaves(y)) != 1 or len(shape) != 3 or shape[2] != channels:
            raise ValueError(
                "init='upsample' needs a measurement that is a picture with as many "
                f"channels as the image; this one has shape {shape}"
            )
        return jax.image.resize(y, operator.image_shape, "linear")
    raise ValueError(f"init is 'pinv', 'upsample' or an image, got {init!r}")


def check_request(
    prior: Prior,
    operator: Operator,
    y: Measurement,
    *,
    method: str = "pigdm",
    steps: int = 100,
    eta: Number | None = None,
    noise_std: Number = 0.0,
    weight: str | None = None,
    start: int | None = None,
    spacing: str = "uniform",
    guidance: str | None = None,
    sampler: str = "ddim",
    clip: bool = False,
    **others: Any,
) -> Int[np.ndarray, " n_plus_1"]:
    """Refuse what makes no sense, before anything is computed.

    Takes what `restore` takes.

    Returns:
      The noise levels to visit.

    Raises:
      ValueError: in one sentence.
    """
    del others
    _check_word("method", method, (PIGDM, *METHODS))
    _check_word("sampler", sampler, SAMPLERS)
    words = _chosen(operator, method, guidance, weight, sampler, clip)
    _check_word("guidance", words.guidance, GUIDANCES)
    _check_word("weight", words.weight, WEIGHTS)
    if method != PIGDM:
        _check_none_of_pigdm(method, weight, guidance, sampler, clip)
    chosen = words.method
    name = method if method != PIGDM else f"the {sampler} sampler"
    _check_measurement(operator, y)
    _check_operator(name, chosen, operator)
    _check_noise(operator, noise_std, words.guidance)
    _check_noise_of_method(name, chosen, operator, noise_std)
    if eta is not None:
        _check_range("eta", eta, 0, 1)
        if chosen.eta is None and not isinstance(eta, jax.core.Tracer) and np.any(eta):
            raise ValueError(f"eta plays no part in {name}; leave it out")
    working_shape(prior, operator.image_shape)
    if start is None and chosen.start is not None:
        start = max(round(chosen.start * prior.schedule.num_steps), steps)
    return prior.schedule.levels(steps, start, spacing)


def _check_word(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")


def _check_none_of_pigdm(
    method: str, weight: str | None, guidance: str | None, sampler: str, clip: bool
) -> None:
    """Other methods guide and step in their own way."""
    given = {
        "weight": weight is not None,
        "guidance": guidance is not None,
        "sampler": sampler != "ddim",
        "clip": clip,
    }
    for name, is_given in given.items():
        if is_given:
            raise ValueError(f"{name} is pigdm's; {method} has its own, leave it out")


def _check_operator(name: str, method: Method, operator: Operator) -> None:
    """Refuse an operator that a method cannot do anything with."""
    if method.needs == "linear" and not operator.linear:
        raise ValueError(f"{name} needs a linear operator; use ddim of pigdm")
    if method.needs == "differentiable" and not operator.differentiable:
        raise ValueError(
            f"{name} needs a measurement with a gradient, and this one rounds; use "
            "pigdm"
        )
    if method.needs == "spectrum" and operator.spectrum is None:
        raise ValueError(
            f"{name} needs an operator whose singular values are known; use pigdm"
        )


def _check_noise_of_method(
    name: str, method: Method, operator: Operator, noise_std: Any
) -> None:
    traced = isinstance(noise_std, jax.core.Tracer)
    if not traced and not np.any(np.asarray(noise_std)):
        return
    if method.noise_needs_spectrum and operator.spectrum is None:
        raise ValueError(
            f"a noise level with {name} needs an operator whose singular values are "
            "known; use ddim of pigdm"
        )


def _check_measurement(operator: Operator, y: Measurement) -> None:
    expected = operator.measurement_shape
    given = jax.tree.map(jnp.shape, y)
    if given != expected:
        raise ValueError(
            f"the measurement has shape {given}, this operator on images "
            f"{operator.image_shape} gives {expected}"
        )


def _check_noise(operator: Operator, noise_std: Any, guidance: str) -> None:
    _check_range("noise_std", noise_std, 0, np.inf)
    if operator.linear:
        return
    if guidance in LINEAR_GUIDANCES:
        raise ValueError(
            f"{guidance} guidance needs a linear operator; use 'pseudoinverse'"
        )
    if isinstance(noise_std, jax.core.Tracer) or np.any(np.asarray(noise_std) != 0):
        raise ValueError(
            "a noise level needs a linear operator, whose pseudoinverse can be damped; "
            "for this one use noise_std=0, or restore the linear part alone"
        )


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    """Check a number that is known; a traced one is the caller's own business."""
    if isinstance(value, jax.core.Tracer):
        return
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        limits = f"at least {low}" if high == np.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be {limits}, got {value}")
