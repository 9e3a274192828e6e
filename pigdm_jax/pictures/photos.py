"""Restoring pictures: what a file measured, and a restoration fit to be a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, Image, ImageShape, PRNGKey
from pigdm_jax.operators import Operator
from pigdm_jax.operators.composition import Chain
from pigdm_jax.operators.jpeg_codec import Coefficients
from pigdm_jax.pictures.files import (
    ROUNDING_STD,
    from_uint8,
    read_jpeg_coefficients,
    read_parameter,
)
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem, measure, root_mean_square
from pigdm_jax.restoration import restore
from pigdm_jax.samplers import Sampler, Trace
from pigdm_jax.samplers.base import OnStep, starting_image

Picture = Float[np.ndarray, "H W C"]

# Where a pseudoinverse enlarges the rounding of a file this much, the rounding counts
# as noise; an answer that agrees with every rounded value would show little else.
ILL_CONDITIONED = 10.0


class Case(NamedTuple):
    """One picture to restore.

    Attributes:
      problem: how it was damaged, and what is left of it.
      original: the undamaged picture, where it is known.
      remarks: what was assumed, for the user to read.
    """

    problem: Problem
    original: Picture | None = None
    remarks: tuple[str, ...] = ()


class Damage(NamedTuple):
    """What is known of a case before its pixels are.

    Attributes:
      operator: how the picture was damaged.
      noise_std: noise of the measurement, in units of the [-1, 1] image; None if the
        measurement is exact and to be kept.
      remarks: what was assumed, for the user to read.
    """

    operator: Operator
    noise_std: float | None
    remarks: tuple[str, ...] = ()


def noise_of(task: Task) -> float | None:
    """A task's noise in units of the [-1, 1] image; None for none.

    The one place where the user's [0, 1] units are converted.
    """
    return 2 * task.noise if task.noise else None


def damage_done(
    size: tuple[int, int], task: Task, *, file: Path | None = None
) -> Damage:
    """How a picture came to be what it is.

    Args:
      size: its height and width.
      task: how it was damaged. Where it tells no noise level there is none but the
        rounding of the file, which then counts where it would be blown up (deblurring).
      file: where the picture is from. If the task leaves the JPEG quality to the
        header, it is read from there.

    Raises:
      ValueError: if the task cannot have made a picture of this size, or the file is no
        JPEG file.
    """
    from_file = file is not None and task.reads_header
    if from_file:
        task = task.with_header(str(file))
    image_shape = (size[0] * task.enlargement, size[1] * task.enlargement, 3)
    operator = task.operator(image_shape, read_parameter)
    expected = _picture_shape(operator)
    if expected[:2] != size:
        raise ValueError(
            f"{str(task)!r} makes pictures of {_size(expected)} from "
            f"{_size(image_shape)}, so this one of {_size(size)} cannot come from it"
        )
    if task.noise is not None or from_file or not operator.linear:
        return Damage(operator, noise_of(task))
    if _amplification(operator) > ILL_CONDITIONED:
        remark = (
            f"the file's rounding to 8 bits counts as noise of {ROUNDING_STD / 2:.4f}, "
            "since undoing this task would blow it up; --noise sets another level"
        )
        return Damage(operator, ROUNDING_STD, (remark,))
    return Damage(operator, None)


def measured(
    picture: Picture, damage: Damage, coefficients_of: Path | None = None
) -> Case:
    """The case whose measurement is in the picture.

    Args:
      picture: what the file holds, in [-1, 1].
      damage: how it was damaged.
      coefficients_of: the JPEG file whose own coefficients are the measurement.
    """
    operator = damage.operator
    if _picture_shape(operator)[2] == 1:
        picture = picture.mean(axis=-1, keepdims=True)
    y, remarks = operator.from_picture(jnp.asarray(picture)), damage.remarks
    if coefficients_of is not None:
        y, remarks = _from_jpeg_file(operator, y, coefficients_of)
    return Case(Problem(operator, y, damage.noise_std), remarks=remarks)


def _from_jpeg_file(
    operator: Operator, from_pixels: Coefficients, file: Path
) -> tuple[Coefficients, tuple[str, ...]]:
    """The file's own coefficients, or those of its pixels, and a remark which."""
    planes = read_jpeg_coefficients(file)
    if planes is None:
        remark = (
            "coefficients are made again from the file's pixels; pip install "
            "'pigdm-jax[jpeg]' reads the file's own"
        )
        return from_pixels, (remark,)
    last = operator.parts[-1] if isinstance(operator, Chain) else operator
    if len(planes) == 1:
        planes = (*planes, *map(jnp.zeros_like, from_pixels[1:]))
    coefficients = Coefficients(*map(jnp.asarray, planes))
    # Blocks that the border cuts are written otherwise here; all others stay.
    coefficients = last.apply(last.pinv(coefficients))
    return coefficients, ("the measurement is the file's own coefficients",)


def damage_to_do(size: tuple[int, int], task: Task) -> Damage:
    """How to damage a clean picture on purpose.

    The operator is for the picture's top left part where the task needs sides that are
    multiples of a factor.

    Args:
      size: height and width of the picture.
      task: how to damage it, with the noise to add.

    Raises:
      ValueError: if the task does not suit the picture, or cannot have noise.
    """
    factor = task.enlargement
    height, width = (n - n % factor for n in size)
    remarks = ()
    if (height, width) != size:
        remarks = (f"cropped to {height} x {width}, multiples of {factor}",)
    operator = task.operator((height, width, 3), read_parameter)
    if task.noise and not operator.linear:
        raise ValueError(
            f"{str(task)!r} is not linear, so its pseudoinverse cannot allow for "
            "noise; leave out the noise level"
        )
    return Damage(operator, noise_of(task), remarks)


def simulated(picture: Picture, damage: Damage, key: PRNGKey) -> Case:
    """The case of a clean picture damaged on purpose.

    Args:
      picture: the clean picture, in [-1, 1].
      damage: what to do to it.
      key: of the noise.
    """
    operator, noise_std, remarks = damage
    height, width, _ = operator.image_shape
    picture = picture[:height, :width]
    problem = measure(operator, picture, key, noise_std=noise_std)
    return Case(problem, picture, remarks)


def pseudoinverse(problem: Problem) -> Image:
    """What the pseudoinverse alone makes of the measurement."""
    return starting_image(problem, "pinv")


class Restored(NamedTuple):
    """A restoration fit to be a file.

    Attributes:
      pixels: the image in 8 bits.
      finite: False if the sampler left the finite numbers.
      off: how far the pixels are from the measurement; see `disagreement`.
      trace: what the sampler did.
    """

    pixels: UInt8[AnyArray, "H W C"]
    finite: Bool[AnyArray, ""]
    off: Float[AnyArray, ""]
    trace: Trace

    @property
    def picture(self) -> Picture:
        """The image in [-1, 1]."""
        return from_uint8(self.pixels)


def restored(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    on_step: OnStep | None = None,
) -> Restored:
    """A restoration fit to be a file.

    Args:
      prior: the diffusion model.
      problem: how the measurement was made, and what it is.
      key: the picture's own `jax.random` key.
      sampler: as `restore` takes it.
      on_step: as `restore` takes it.

    Raises:
      ValueError: as `restore`.
    """
    image, trace = restore(prior, problem, key, sampler, trace=True, on_step=on_step)
    return settled(problem, image, trace)


@typed_jit
def settled(problem: Problem, image: Image, trace: Trace) -> Restored:
    """A restoration in 8 bits, and how far it is from the measurement."""
    operator, y = problem.operator, problem.y
    finite = jnp.isfinite(image).all()
    pixels = jnp.rint((jnp.clip(image, -1, 1) + 1) * 127.5).astype(jnp.uint8)
    again = operator.apply(pixels / jnp.float32(127.5) - 1)
    if operator.linear:
        off = root_mean_square(jax.tree.map(jnp.subtract, again, y)) / 2
    else:
        differ = jax.tree.map(lambda a, b: jnp.ravel(a != b), again, y)
        off = jnp.mean(jnp.concatenate(jax.tree.leaves(differ)))
    return Restored(pixels, finite, off, trace)


def restore_picture(
    prior: Prior,
    problem: Problem,
    key: PRNGKey,
    sampler: Sampler | None = None,
    on_step: OnStep | None = None,
) -> Restored:
    """A restoration of one picture; see `restored`.

    Raises:
      ValueError: as `restore`, or if the sampler leaves the finite numbers.
    """
    result = restored(prior, problem, key, sampler, on_step)
    if not result.finite:
        raise ValueError(NOT_FINITE)
    return result


NOT_FINITE = (
    "the restoration is not finite: the sampler as asked for is unstable with this "
    "prior and task; the default one, or --sampler ddim with more steps, is safer"
)


class Statistics(NamedTuple):
    """What several samples tell of the posterior.

    Attributes:
      mean: their mean, an estimate of the posterior's.
      std: for every pixel and channel the standard deviation, likewise.
    """

    mean: Picture
    std: Picture


def statistics(samples: Sequence[Picture]) -> Statistics:
    """Mean and standard deviation (with n - 1) of two or more samples."""
    return Statistics(np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1))


def disagreement(problem: Problem, off: float) -> str:
    """How far a restoration, in 8 bits, is from the measurement, in words.

    Args:
      problem: what was restored.
      off: for linear operators the root mean square of the difference, on a scale from
        0 to 1; for others the share of measured values that differ.
    """
    if not problem.operator.linear:
        return f"{off:.2%} of the measured values differ"
    if problem.noise_std is None:
        own = f"rounding a picture to 8 bits is {ROUNDING_STD / 2:.4f}"
    else:
        own = f"its noise is {problem.noise_std / 2:.4f}"
    return f"{off:.4f} root mean square, on a scale from 0 to 1 ({own})"


def _picture_shape(operator: Operator) -> ImageShape:
    """The shape of the picture that shows a measurement."""
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    return jax.eval_shape(lambda x: operator.to_picture(operator.apply(x)), image).shape


def _amplification(operator: Operator) -> float:
    """How much larger random errors of y are after the pseudoinverse."""
    error = jax.random.normal(jax.random.key(0), operator.measurement_shape)
    return float(root_mean_square(operator.pinv(error)) / root_mean_square(error))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"
