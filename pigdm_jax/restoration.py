"""Restore an image: check the request, then let a sampler sample it."""

import dataclasses
from functools import partial
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.core.arrays import check_key
from pigdm_jax.core.checks import check_flag, given
from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.pytree import check_decorated
from pigdm_jax.core.types import Image, ImageShape, PRNGKey, Scalar
from pigdm_jax.guidance.base import Guidance
from pigdm_jax.operators import Operator, chain, crop
from pigdm_jax.operators.base import Wider
from pigdm_jax.priors.base import Prior, check_prior
from pigdm_jax.problem import (
    Problem,
    check_needs,
    check_problem,
    measurement_residual,
)
from pigdm_jax.samplers import Sampler, Trace, default
from pigdm_jax.samplers.base import Stepwise
from pigdm_jax.samplers.checks import check_sampler
from pigdm_jax.samplers.divergence import check_converges
from pigdm_jax.samplers.records import OnStep
from pigdm_jax.samplers.starting import starting_image

# Rounds of clipping to [-1, 1] and making an image agree with y; each undoes a little
# of the other.
CLIP_ROUNDS = 5


@overload
def restore(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    *,
    init: str | Image | None = None,
    trace: Literal[False] = False,
    on_step: OnStep | None = None,
) -> Image: ...


@overload
def restore(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    *,
    init: str | Image | None = None,
    trace: Literal[True],
    on_step: OnStep | None = None,
) -> tuple[Image, Trace]: ...


def restore(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    *,
    init: str | Image | None = None,
    trace: bool = False,
    on_step: OnStep | None = None,
) -> Image | tuple[Image, Trace]:
    """One sample of the image behind a measurement.

    Pure and jitted: it compiles once for each shape, each choice of static fields and
    with or without a noise level, not again for another image, mask, kernel, key, eta
    or level. Batches come from `jax.vmap` over problems, keys, priors or samplers.

    An image whose size does not suit the prior is restored as the corner of a larger
    one, of which the operator sees only that corner. Where y is exact, and the sampler
    does not decline (`Sampler.project`), the sample is made to agree with y in the end,
    by `Operator.nearest`, and as far as that allows is clipped to [-1, 1].

    Args:
      prior: the diffusion model.
      problem: what was measured.
      key: the image's own `jax.random` key; same key, same image, whatever the batch.
      sampler: how to sample; None is `pigdm_jax.samplers.default`.
      init: what to begin from, with the noise of the sampler's first level: "pinv"
        (the default of samplers that start late), "upsample" (the measurement enlarged
        linearly) or an image in [-1, 1].
      trace: also return the per-step `Trace`.
      on_step: called after every step with its number, 1 .. n, and its `Info`; the
        steps are then separate calls, and not for use under `jit` or `vmap`. An
        exception that it raises ends the run.

    Returns:
      The image, (height, width, channels) about [-1, 1]; with `trace` a pair of it and
      the trace.

    Raises:
      TypeError: if prior, problem, key or sampler is none.
      ValueError: if the request makes no sense, before anything is computed.

    Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023.
    """
    check_key("key", key)
    check_flag("trace", trace)
    sampler = check_request(prior, problem, sampler, init)
    if on_step is not None and not callable(on_step):
        raise TypeError(f"on_step must be a function, got {given(on_step)}")
    image, record = sample(prior, problem, key, sampler, init=init, on_step=on_step)
    if not trace:
        return image
    return image, record._replace(consistency=consistency(problem))


def sample(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler,
    *,
    init: str | Image | None = None,
    on_step: OnStep | None = None,
) -> tuple[Image, Trace]:
    """`restore` without its checks, for a request that has passed them."""
    wider = problem.operator.wider
    if wider is not None:
        return _sample_wider(prior, problem, key, sampler, wider, init, on_step)
    image_shape = problem.operator.image_shape
    working = working_shape(prior, image_shape)
    problem = enlarged = dataclasses.replace(problem, y=_float32(problem.y))
    if prior.sees is not None and prior.seen is None:
        seen = starting_image(problem, prior.sees)
        prior = prior.condition(image=_enlarged(seen, working))
    init = sampler.default_init if init is None else init
    if init is not None:
        init = starting_image(problem, init)
    if working != image_shape:
        height, width = image_shape[:2]
        if init is not None:
            init = _enlarged(init, working)
        operator = chain(crop(working, height, width), problem.operator)
        enlarged = dataclasses.replace(problem, operator=operator)
    image, record = sampler.sample(prior, enlarged, key, init, on_step)
    if problem.noise_std is None and sampler.project:
        return agreeing(problem, image), record
    if working != image_shape:
        image = image[: image_shape[0], : image_shape[1]]
    return image, record


def _sample_wider(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler,
    wider: Wider,
    init: str | Image | None,
    on_step: OnStep | None,
) -> tuple[Image, Trace]:
    """Restore a larger image and cut the photo out of it."""
    operator, top, left = wider
    height, width, _ = problem.operator.image_shape
    rows, columns, _ = operator.image_shape
    if init is not None and not isinstance(init, str):
        pad = (top, rows - height - top), (left, columns - width - left), (0, 0)
        init = jnp.pad(init, pad, mode="edge")
    larger = dataclasses.replace(problem, operator=operator)
    image, record = sample(prior, larger, key, sampler, init=init, on_step=on_step)
    return image[top : top + height, left : left + width], record


@typed_jit
def agreeing(problem: Problem, image: Image) -> Image:
    """An image near a given one that measures y, with few values outside of [-1, 1].

    Of an image larger than the operator's the corner.
    """
    height, width, _ = problem.operator.image_shape
    image = image[:height, :width]
    # Clipping would hide that a sampler left the finite numbers.
    image = jnp.where(jnp.isfinite(image), image, jnp.nan)
    for _ in range(CLIP_ROUNDS):
        image = problem.operator.nearest(jnp.clip(image, -1, 1), problem.y)
    return image


def _enlarged(image: Image, shape: ImageShape) -> Float[Array, "height width C"]:
    """An image as the corner of a larger one, its border repeated."""
    pad = [(0, big - n) for big, n in zip(shape, image.shape, strict=True)]
    return jnp.pad(image, pad, mode="edge")


def _float32(y: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), y)


@typed_jit
def consistency(problem: Problem) -> Scalar:
    """Root mean square of h(h+(y)) - y; see `Trace`."""
    return measurement_residual(problem, problem.operator.pinv(problem.y))


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
    m = prior.multiple
    height, width = (max(-(-n // m) * m, prior.smallest) for n in (height, width))
    return (height, width, channels)


def check_request(
    prior: Any, problem: Any, sampler: Any = None, init: Any = None
) -> Sampler:
    """Refuse what makes no sense, before anything is computed.

    Returns:
      The sampler, or the default one for None.

    Raises:
      TypeError: if prior, problem or sampler is none.
      ValueError: in one sentence.
    """
    check_prior(prior)
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a pigdm_jax.Problem, got {type(problem).__name__}"
        )
    check_problem(problem)
    sampler = default(prior, problem) if sampler is None else sampler
    if not isinstance(sampler, Sampler):
        raise TypeError(
            "sampler must be a pigdm_jax.Sampler, for instance "
            f"pigdm_jax.samplers.DDIM(steps=100), got {type(sampler).__name__}"
        )
    check_decorated((prior, problem, sampler), (Prior, Operator, Sampler, Guidance))
    name = f"the sampler {sampler.name}"
    check_sampler(sampler, problem.operator.restored_shape)
    check_needs(name, sampler.needs, problem)
    check_converges(prior, sampler)
    working_shape(prior, problem.operator.restored_shape)
    if init is not None:
        jax.eval_shape(partial(starting_image, problem, init))
    if prior.sees is not None and prior.seen is None:
        jax.eval_shape(partial(starting_image, problem, prior.sees))
    if isinstance(sampler, Stepwise):
        levels = sampler.levels(prior.schedule)
        if levels[0] != 0 or not (np.diff(levels) > 0).all():
            raise ValueError(
                f"{name} visits noise levels {levels} that do not fall to 0"
            )
    return sampler
