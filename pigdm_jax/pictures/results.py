"""A restoration as the pixels of a file, and its mismatch with the measurement."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.pictures.kept import NOTHING_KEPT, Kept, Picture
from pigdm_jax.pictures.levels import ROUNDING_STD, from_levels
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem, root_mean_square
from pigdm_jax.restoration import restore
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.records import OnStep, Trace

NOT_FINITE = (
    "the restoration is not finite: the sampler as asked for is unstable with "
    "this prior and task; the default one, or --sampler ddim with more steps, is safer"
    "{where}"
)


class Restored(NamedTuple):
    """A restoration as it is written.

    Attributes:
      pixels: the image in whole numbers of 8 or 16 bits; in [-1, 1] or beyond if it is
        to be converted to another colour profile.
      finite: False if the sampler's result has NaN or infinite values.
      mismatch: how far the pixels are from the measurement. For linear operators the
        root mean square of the difference, on a scale from 0 to 1; for others the
        fraction of measured values that differ.
      trace: what the sampler did in each step.
    """

    pixels: Shaped[AnyArray, "H W C"]
    finite: Bool[AnyArray, ""]
    mismatch: Float[AnyArray, ""]
    trace: Trace

    @property
    def picture(self) -> Picture:
        """The image in [-1, 1]."""
        return as_image(np.asarray(self.pixels))


def as_image(pixels: Shaped[np.ndarray, "H W C"]) -> Picture:
    """The image in [-1, 1] of `Restored.pixels`."""
    return pixels if pixels.dtype == np.float32 else from_levels(pixels)


@typed_jit
def to_pixels(problem: Problem, image: Image, trace: Trace) -> Restored:
    """A restoration rounded to 8 bits, and its mismatch with the measurement."""
    return _rounded(problem, image, trace, 8)


@typed_jit
def to_deep_pixels(problem: Problem, image: Image, trace: Trace) -> Restored:
    """A restoration rounded to 16 bits, and its mismatch with the measurement."""
    return _rounded(problem, image, trace, 16)


@typed_jit
def to_values(problem: Problem, image: Image, trace: Trace) -> Restored:
    """A restoration that is rounded later, and its mismatch with the measurement."""
    finite = jnp.isfinite(image).all()
    return Restored(image, finite, mismatch(problem, image), trace)


def finish_for(bits: int, converted: bool) -> Callable[..., Restored]:
    """The function among these three that suits a file.

    Args:
      bits: a channel of the file to write.
      converted: whether the image is to be converted to another colour profile.
    """
    if converted:
        return to_values
    return to_pixels if bits == 8 else to_deep_pixels


def _rounded(problem: Problem, image: Image, trace: Trace, bits: int) -> Restored:
    finite, half = jnp.isfinite(image).all(), (2**bits - 1) / 2
    pixels = jnp.rint((jnp.clip(image, -1, 1) + 1) * half)
    pixels = pixels.astype(jnp.uint8 if bits == 8 else jnp.uint16)
    distance = mismatch(problem, pixels / jnp.float32(half) - 1)
    return Restored(pixels, finite, distance, trace)


def mismatch(problem: Problem, image: Image) -> Float[AnyArray, ""]:
    """How far an image is from the measurement; see `Restored.mismatch`."""
    operator, y = problem.operator, problem.y
    again = operator.apply(image)
    if operator.linear:
        return root_mean_square(jax.tree.map(jnp.subtract, again, y)) / 2
    differ = jax.tree.map(lambda a, b: jnp.ravel(a != b), again, y)
    return jnp.mean(jnp.concatenate(jax.tree.leaves(differ)))


def restore_picture(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    on_step: OnStep | None = None,
    kept: Kept = NOTHING_KEPT,
) -> Restored:
    """Restore one picture.

    Args:
      prior: the diffusion model.
      problem: what was measured.
      key: the picture's own `jax.random` key.
      sampler: as `pigdm_jax.restore` takes it.
      on_step: as `pigdm_jax.restore` takes it.
      kept: what the file to write has of the picture's.

    Raises:
      ValueError: as `pigdm_jax.restore`, or if the result is not finite.
    """
    image, trace = restore(prior, problem, key, sampler, trace=True, on_step=on_step)
    result = finish_for(kept.bits, kept.converted)(problem, image, trace)
    if not result.finite:
        raise ValueError(not_finite(trace))
    return result


def not_finite(trace: Trace) -> str:
    """The error for a restoration that is not finite, with the step where it began.

    Args:
      trace: of one picture.
    """
    step, steps = int(trace.first_not_finite), len(trace.t)
    return NOT_FINITE.format(
        where=f" (step {step} of {steps} is the first with NaN or infinity)"
        if step
        else ""
    )


def mismatch_text(problem: Problem, mismatch: float) -> str:
    """`Restored.mismatch` in a phrase, beside what is to be expected."""
    if not problem.operator.linear:
        noisy = " (noise came before them)" if problem.operator.draws else ""
        return f"{mismatch:.2%} of the measured values differ{noisy}"
    if problem.noise_std is None:
        expected = f"rounding a picture to 8 bits is {ROUNDING_STD / 2:.4f}"
    else:
        expected = f"its noise is {problem.noise_std / 2:.4f}"
    return f"{mismatch:.4f} root mean square, on a scale from 0 to 1 ({expected})"
