"""From a picture file and a task to a problem.

A picture is either what is left of an image, so that its pixels are the measurement, or
it is clean and is degraded first, to compare its restoration with it.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import Image, ImageShape, PRNGKey, Scalar
from pigdm_jax.operators import Operator
from pigdm_jax.operators.composition import Chain
from pigdm_jax.operators.jpeg_codec import JpegCoefficients
from pigdm_jax.pictures.cases import Case, Degradation
from pigdm_jax.pictures.clipping import undo_clipping
from pigdm_jax.pictures.grey_noise import spread
from pigdm_jax.pictures.jpeg_files import read_jpeg_coefficients
from pigdm_jax.pictures.kept import Picture
from pigdm_jax.pictures.levels import ROUNDING_STD
from pigdm_jax.pictures.noise_level import estimate_noise
from pigdm_jax.pictures.parameters import read_parameter
from pigdm_jax.pictures.task import Task
from pigdm_jax.problem import Problem, root_mean_square
from pigdm_jax.samplers.starting import starting_image
from pigdm_jax.simulation import measure

# Where a pseudoinverse amplifies the rounding of a file by more than this, the rounding
# counts as noise: an image that agrees with every rounded value would be mostly noise.
ILL_CONDITIONED = 10.0


def _last_noise(task: Task, operator: Operator) -> float | None:
    """The noise of the measurement, in units of the [-1, 1] image; None for none.

    Raises:
      ValueError: if what comes last is not linear.
    """
    if task.later or task.noise_std is None:
        return None
    _check_linear(task, operator)
    return task.noise_std


def _check_linear(task: Task, operator: Operator) -> None:
    """Refuse noise in what quantises.

    Raises:
      ValueError: if the operator is not linear.
    """
    if operator.linear:
        return
    plain = _without_noise(task)
    raise ValueError(
        f"{str(plain)!r} quantises, and noise is not added to its result: put the "
        f"noise where it was added, as in 'denoise:{task.noise or 0.1} | {plain}'"
    )


def _check_can_estimate(task: Task, operator: Operator) -> None:
    """Refuse to estimate noise that the picture does not contain as it was added.

    Raises:
      ValueError: if something came after the noise, or the operator is not linear.
    """
    if task.later:
        given = dataclasses.replace(task, noise=0.1)
        raise ValueError(
            f"the noise in {str(task)!r} cannot be estimated, because what came after "
            f"it has changed it; give its level, for example {str(given)!r}"
        )
    _check_linear(task, operator)


def _without_noise(task: Task) -> Task:
    return dataclasses.replace(task, noise=None, denoises=False)


def degradation_of_file(
    size: tuple[int, int], task: Task, *, file: Path | None = None, grey: bool = False
) -> Degradation:
    """How a picture was degraded.

    Args:
      size: its height and width.
      task: what happened to it. If it has no noise, the only noise is the rounding of
        the file, which counts where the pseudoinverse amplifies it (deblurring).
      file: the picture's file, whose header gives the JPEG quality if the task does
        not.
      grey: whether the file has no colour.

    Raises:
      ValueError: if the task cannot have made a picture of this size, or the file is no
        JPEG file.
    """
    known = (stage.check_known() for stage in task.stages)
    remarks = tuple(remark for remark in known if remark)
    from_file = file is not None and task.reads_header
    if from_file:
        task = task.with_header(str(file))
    image_shape = (size[0] * task.enlargement, size[1] * task.enlargement, 3)
    operator = task.with_open_border().operator(image_shape, read_parameter)
    expected = _picture_shape(operator)
    if expected[:2] != size:
        raise ValueError(
            f"{str(task)!r} makes pictures of {_size(expected)} from "
            f"{_size(image_shape)}, so this one of {_size(size)} cannot come from it"
        )
    grey = grey and expected[2] == 3
    if task.estimates_noise:
        _check_can_estimate(task, operator)
        return Degradation(operator, ROUNDING_STD, remarks, True, grey)
    if task.noise is not None or from_file or not operator.linear:
        noise_std = _last_noise(task, operator)
        return Degradation(operator, noise_std, remarks, grey=grey)
    if _amplification(operator) > ILL_CONDITIONED:
        remark = (
            f"rounding to 8 bits counts as noise of {ROUNDING_STD / 2:.4f}, since "
            "undoing this task amplifies it; --noise sets another level"
        )
        return Degradation(operator, ROUNDING_STD, (*remarks, remark))
    return Degradation(operator, None, remarks)


def measured(
    picture: Picture,
    degradation: Degradation,
    coefficients_of: Path | None = None,
    key: PRNGKey | None = None,
) -> Case:
    """The case of a picture whose pixels are the measurement.

    Args:
      picture: the file's pixels, in [-1, 1].
      degradation: how it was degraded.
      coefficients_of: the JPEG file whose own coefficients are the measurement instead.
      key: for the noise of grey pictures.

    Raises:
      ValueError: if the noise is to be estimated and cannot be.
    """
    operator, noise_std = degradation.operator, degradation.noise_std
    if _picture_shape(operator)[2] == 1:
        picture = picture.mean(axis=-1, keepdims=True)
    if operator.linear and noise_std is not None:
        picture, degradation = _noisy(picture, degradation, key)
    y, remarks = operator.from_picture(jax.device_put(picture)), degradation.remarks
    if coefficients_of is not None:
        y, remarks = _from_jpeg_file(operator, y, coefficients_of)
    return Case(Problem(operator, y, degradation.level), remarks=remarks)


def _noisy(
    picture: Picture, degradation: Degradation, key: PRNGKey | None
) -> tuple[Picture, Degradation]:
    """A noisy picture as it was before clipping, and its noise, estimated if need be.

    Raises:
      ValueError: if the noise cannot be estimated.
    """
    operator, noise_std, remarks, estimates, grey = degradation
    # Of a linear operator's picture, pixels are measured as they are or not at all.
    measured = np.asarray(operator.from_picture(np.ones_like(picture)))
    if estimates:
        noise_std = estimate_noise(picture, measured != 0)
        remark = (
            f"noise estimated as {noise_std / 2:.3f} (pixels from 0 to 1); --noise "
            "sets another level"
        )
        remarks = (*remarks, remark)
    if noise_std is not None and noise_std > ROUNDING_STD:
        before = undo_clipping(picture, np.float32(noise_std), measured)
        # Colours outside of sRGB were not clipped where sRGB ends.
        picture = np.where(np.abs(picture) > 1, picture, np.asarray(before))
    if grey and noise_std is not None and key is not None:
        picture = spread(picture, noise_std, key)
    return picture, Degradation(operator, noise_std, remarks, grey=grey)


def _from_jpeg_file(
    operator: Operator, from_pixels: JpegCoefficients, file: Path
) -> tuple[JpegCoefficients, tuple[str, ...]]:
    """The file's own coefficients, else those of its pixels, and a remark on which."""
    planes = read_jpeg_coefficients(file)
    if planes is None:
        remark = (
            "the coefficients are computed from the file's pixels; pip install "
            "'pigdm-jax[jpeg]' to read the file's own"
        )
        return from_pixels, (remark,)
    last = operator.parts[-1] if isinstance(operator, Chain) else operator
    luma, *chroma = map(jnp.asarray, planes)
    chroma = chroma or [jnp.zeros_like(plane) for plane in from_pixels[1:]]
    coefficients = JpegCoefficients(luma, *chroma)
    # An encoder pads blocks at the border as it likes; all others stay as they are.
    coefficients = last.apply(last.pinv(coefficients))
    return coefficients, ("the measurement is the file's own coefficients",)


def degradation_to_simulate(size: tuple[int, int], task: Task) -> Degradation:
    """How to degrade a clean picture.

    If the task needs sides that are multiples of a factor, the operator is for the top
    left part of the picture.

    Args:
      size: height and width of the picture.
      task: how to degrade it, with the noise to add.

    Raises:
      ValueError: if the task does not suit the picture, or cannot have noise.
    """
    if task.estimates_noise:
        given = task.with_noise(0.1)
        raise ValueError(
            f"--simulate adds noise of a known level; give it, for example "
            f"{str(given)!r}"
        )
    factor = task.enlargement
    height, width = (n - n % factor for n in size)
    remarks: tuple[str, ...] = ()
    if (height, width) != size:
        remarks = (f"cropped to {height} x {width}, multiples of {factor}",)
    operator = task.operator((height, width, 3), read_parameter)
    return Degradation(operator, _last_noise(task, operator), remarks)


def simulated(picture: Picture, degradation: Degradation, key: PRNGKey) -> Case:
    """The case of a clean picture that is degraded first.

    Args:
      picture: the clean picture, in [-1, 1].
      degradation: how to degrade it.
      key: of the noise.
    """
    operator, noise_std, remarks, *_ = degradation
    height, width, _ = operator.image_shape
    picture = picture[:height, :width]
    problem = measure(operator, picture, key, noise_std=noise_std)
    return Case(problem, picture, remarks)


@typed_jit
def pseudoinverse(problem: Problem) -> Image:
    """The image that the pseudoinverse alone gives."""
    return starting_image(problem, "pinv")


def _picture_shape(operator: Operator) -> ImageShape:
    """The shape of the picture that shows a measurement."""
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    return jax.eval_shape(lambda x: operator.to_picture(operator.apply(x)), image).shape


@typed_jit
def _amplification(operator: Operator) -> Scalar:
    """Size of random errors after the pseudoinverse, relative to their size in y."""
    error = jax.random.normal(jax.random.key(0), operator.measurement_shape)
    return root_mean_square(operator.pinv(error)) / root_mean_square(error)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"
