"""A restoration as the pixels of a file, and its mismatch with the measurement."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, UInt8

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.pictures.levels import ROUNDING_STD, from_uint8
from pigdm_jax.pictures.problems import Picture
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem, root_mean_square
from pigdm_jax.restoration import restore
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.records import OnStep, Trace

NOT_FINITE = (
    "the restoration is not finite: the sampler as asked for is unstable with this "
    "prior and task; the default one, or --sampler ddim with more steps, is safer"
)


class Restored(NamedTuple):
    """A restoration in 8 bits.

    Attributes:
      pixels: the image, 0 to 255.
      finite: False if the sampler's result has NaN or infinite values.
      mismatch: how far the pixels are from the measurement. For linear operators the
        root mean square of the difference, on a scale from 0 to 1; for others the
        fraction of measured values that differ.
      trace: what the sampler did in each step.
    """

    pixels: UInt8[AnyArray, "H W C"]
    finite: Bool[AnyArray, ""]
    mismatch: Float[AnyArray, ""]
    trace: Trace

    @property
    def picture(self) -> Picture:
        """The image in [-1, 1]."""
        return from_uint8(self.pixels)


@typed_jit
def to_pixels(problem: Problem, image: Image, trace: Trace) -> Restored:
    """A restoration rounded to 8 bits, and its mismatch with the measurement."""
    operator, y = problem.operator, problem.y
    finite = jnp.isfinite(image).all()
    pixels = jnp.rint((jnp.clip(image, -1, 1) + 1) * 127.5).astype(jnp.uint8)
    again = operator.apply(pixels / jnp.float32(127.5) - 1)
    if operator.linear:
        mismatch = root_mean_square(jax.tree.map(jnp.subtract, again, y)) / 2
    else:
        differ = jax.tree.map(lambda a, b: jnp.ravel(a != b), again, y)
        mismatch = jnp.mean(jnp.concatenate(jax.tree.leaves(differ)))
    return Restored(pixels, finite, mismatch, trace)


def restore_picture(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    on_step: OnStep | None = None,
) -> Restored:
    """Restore one picture.

    Args:
      prior: the diffusion model.
      problem: what was measured.
      key: the picture's own `jax.random` key.
      sampler: as `pigdm_jax.restore` takes it.
      on_step: as `pigdm_jax.restore` takes it.

    Raises:
      ValueError: as `pigdm_jax.restore`, or if the result is not finite.
    """
    image, trace = restore(prior, problem, key, sampler, trace=True, on_step=on_step)
    result = to_pixels(problem, image, trace)
    if not result.finite:
        raise ValueError(NOT_FINITE)
    return result


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
