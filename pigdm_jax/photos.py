"""Restoring pictures: what a file measured, and a restoration fit to be a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pigdm_jax.guidance import default_weight, project, root_mean_square
from pigdm_jax.io import ROUNDING_STD, read_jpeg_coefficients, to_uint8
from pigdm_jax.operators import Operator, enlargement, parse
from pigdm_jax.operators.chain import Chain
from pigdm_jax.operators.jpeg import Coefficients
from pigdm_jax.prior import Prior
from pigdm_jax.restore import restore
from pigdm_jax.sampler import Trace
from pigdm_jax.tiled import tiled
from pigdm_jax.types import Image, ImageShape, Measurement, PRNGKey

Picture = Float[np.ndarray, "H W C"]

# Where a pseudoinverse enlarges the rounding of a file this much, the rounding counts
# as noise; an answer that agrees with every rounded value would show little else.
ILL_CONDITIONED = 10.0

# Rounds of clipping to [-1, 1] and projecting onto what was measured; each undoes a
# little of the other.
CLIP_ROUNDS = 5


class Problem(NamedTuple):
    """One picture to restore.

    Attributes:
      operator: how it was damaged.
      y: what is left of it.
      noise_std: noise of y, in units of the [-1, 1] image; 0 if y is to be kept.
      original: the undamaged picture, where it is known.
      remarks: what was assumed, for the user to read.
    """

    operator: Operator
    y: Measurement
    noise_std: float
    original: Picture | None = None
    remarks: tuple[str, ...] = ()


def measured(
    picture: Picture,
    task: str,
    noise: float | None = None,
    *,
    file: Path | None = None,
) -> Problem:
    """The problem whose measurement is in the picture.

    Args:
      picture: what the file holds, in [-1, 1].
      task: how it was damaged, as `parse` takes it.
      noise: standard deviation of its noise, in units of a [0, 1] image. None means
        none but the rounding of the file, which then counts where it would be blown
        up (deblurring).
      file: where the picture is from. If the task ends with "jpeg" and no quality, the
        file tells quality and subsampling, and its coefficients are the measurement.

    Raises:
      ValueError: if the task cannot have made a picture of this size, or the file is no
        JPEG file.
    """
    from_file = file is not None and task.split("|")[-1].strip() == "jpeg"
    if from_file:
        task = f"{task.rstrip()}:{file}"
    height, width, channels = picture.shape
    factor = enlargement(task)
    image_shape = (height * factor, width * factor, channels)
    operator = parse(task, image_shape)
    expected = _picture_shape(operator)
    if expected[:2] != picture.shape[:2]:
        raise ValueError(
            f"{task!r} makes pictures of {_size(expected)} from {_size(image_shape)}, "
            f"so this one of {_size(picture.shape)} cannot come from it"
        )
    if expected[2] == 1:
        picture = picture.mean(axis=-1, keepdims=True)
    y = operator.from_picture(jnp.asarray(picture))
    if from_file:
        y, remarks = _from_jpeg_file(operator, y, file)
        return Problem(operator, y, 2 * (noise or 0.0), remarks=remarks)
    if noise is not None:
        return Problem(operator, y, 2 * noise)
    if operator.linear and _amplification(operator, y) > ILL_CONDITIONED:
        remark = (
            f"the file's rounding to 8 bits counts as noise of {ROUNDING_STD / 2:.4f}, "
            "since undoing this task would blow it up; --noise sets another level"
        )
        return Problem(operator, y, ROUNDING_STD, remarks=(remark,))
    return Problem(operator, y, 0.0)


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


def simulated(
    picture: Picture, task: str, noise: float | None, key: PRNGKey
) -> Problem:
    """The problem of a clean picture damaged on purpose.

    The picture is cropped where the task needs sides that are multiples of a factor.

    Args:
      picture: the clean picture, in [-1, 1].
      task: how to damage it, as `parse` takes it.
      noise: standard deviation of noise to add, in units of a [0, 1] image.
      key: of the noise.

    Raises:
      ValueError: if the task does not suit the picture, or cannot have noise.
    """
    factor = enlargement(task)
    height, width = (n - n % factor for n in picture.shape[:2])
    remarks = ()
    if (height, width) != picture.shape[:2]:
        remarks = (f"cropped to {height} x {width}, multiples of {factor}",)
        picture = picture[:height, :width]
    operator = parse(task, picture.shape)
    y = operator.apply(jnp.asarray(picture))
    if not noise:
        return Problem(operator, y, 0.0, picture, remarks)
    if not operator.linear:
        raise ValueError(
            f"{task!r} is not linear, so its pseudoinverse cannot allow for noise; "
            "leave out --noise"
        )
    noise_std = 2 * noise
    y = y + noise_std * jax.random.normal(key, y.shape)
    return Problem(operator, y, noise_std, picture, remarks)


def pseudoinverse(problem: Problem) -> Image:
    """What the pseudoinverse alone makes of the measurement."""
    damping = problem.noise_std**2 if problem.operator.linear else 0.0
    return problem.operator.pinv(problem.y, damping)


# Neighbouring windows share this part of their side.
OVERLAP = 4


def fit_prior(prior: Prior, image_shape: ImageShape, tile: int | None) -> Prior:
    """A prior that takes the image: itself, or tiled if it is asked for or has to be.

    Raises:
      ValueError: if the tile does not suit the prior.
    """
    own = prior.image_shape
    if tile is None and own is not None and max(image_shape[:2]) > own[0]:
        tile = own[0]
    return prior if tile is None else tiled(prior, tile, tile // OVERLAP)


def check_memory(prior: Prior, image_shape: ImageShape) -> None:
    """Refuse a picture that cannot fit, before anything is compiled.

    Raises:
      ValueError: if a UNet's attention alone would need more memory than there is.
    """
    if not hasattr(prior, "attention_bytes"):
        return
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit")
    if memory is None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = prior.attention_bytes(image_shape)
    if needed > memory:
        # Attention grows with the fourth power of the side.
        share = (memory / needed) ** 0.25
        height, width = (int(n * share / 2) for n in image_shape[:2])
        raise ValueError(
            f"a picture of {_size(image_shape)} needs over {needed / 1e9:.0f} GB with "
            f"this prior, and there are {memory / 1e9:.0f} GB; restore it in windows "
            f"(--tile 256), or shrink it, for instance to {height} x {width}"
        )


class Restored(NamedTuple):
    """A restoration fit to be a file.

    Attributes:
      picture: the image, clipped to [-1, 1].
      trace: what the sampler did.
    """

    picture: Picture
    trace: Trace


def restore_picture(
    prior: Prior, problem: Problem, key: PRNGKey, **options: Any
) -> Restored:
    """A restoration that agrees with what was measured without noise.

    Args:
      prior: the diffusion model.
      problem: what to restore.
      key: the picture's own `jax.random` key.
      **options: as `restore` takes them.

    Raises:
      ValueError: as `restore`, or if the sampler leaves the finite numbers.
    """
    operator, y, noise_std = problem[:3]
    image, trace = restore(
        prior, operator, y, key, noise_std=noise_std, trace=True, **options
    )
    if not jnp.isfinite(image).all():
        guidance = options.get("guidance", "pseudoinverse")
        weight = options.get("weight") or default_weight(guidance)
        raise ValueError(
            f"the restoration is not finite: the weight {weight!r} is unstable with "
            "this prior and task; 'adaptive' with more steps is the safest"
        )
    if noise_std == 0:
        for _ in range(CLIP_ROUNDS):
            image = project(operator, y, jnp.clip(image, -1, 1))
    return Restored(np.clip(np.asarray(image), -1, 1), trace)


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


def disagreement(problem: Problem, image: Picture) -> str:
    """How far an image, rounded as in a file, is from the measurement, in words."""
    rounded = to_uint8(image) / np.float32(127.5) - 1
    again, y = problem.operator.apply(jnp.asarray(rounded)), problem.y
    if problem.operator.linear:
        off = float(root_mean_square(jax.tree.map(jnp.subtract, again, y))) / 2
        own = f"its noise is {problem.noise_std / 2:.4f}"
        if problem.noise_std == 0:
            own = f"rounding a picture to 8 bits is {ROUNDING_STD / 2:.4f}"
        return f"{off:.4f} root mean square, on a scale from 0 to 1 ({own})"
    pairs = zip(jax.tree.leaves(again), jax.tree.leaves(y), strict=True)
    equal = np.mean(np.concatenate([np.ravel(a == b) for a, b in pairs]))
    return f"{1 - equal:.2%} of the measured values differ"


def _picture_shape(operator: Operator) -> ImageShape:
    """The shape of the picture that shows a measurement."""
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    return jax.eval_shape(lambda x: operator.to_picture(operator.apply(x)), image).shape


def _amplification(operator: Operator, y: Measurement) -> float:
    """How much larger random errors of y are after the pseudoinverse."""
    error = jax.random.normal(jax.random.key(0), jnp.shape(y))
    return float(root_mean_square(operator.pinv(error)) / root_mean_square(error))


def _size(shape: ImageShape) -> str:
    return f"{shape[0]} x {shape[1]} pixels"
