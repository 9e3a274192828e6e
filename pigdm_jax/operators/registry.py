"""Operators by name, and the text that names a chain of them."""

from collections.abc import Sequence
from typing import Any

from pigdm_jax.operators.base import ImageShape, Operator, check_image_shape
from pigdm_jax.operators.blurring import BLUR, GAUSSIAN_BLUR, MOTION_BLUR, UNIFORM_BLUR
from pigdm_jax.operators.channels import GRAYSCALE
from pigdm_jax.operators.composition import chain
from pigdm_jax.operators.cropping import CROP, IDENTITY
from pigdm_jax.operators.inpainting import INPAINT
from pigdm_jax.operators.jpeg_codec import JPEG
from pigdm_jax.operators.named import Read, Stage, parse_stages
from pigdm_jax.operators.quantization import LOW_DYNAMIC_RANGE, QUANTIZE
from pigdm_jax.operators.resizing import SUPER_RESOLUTION
from pigdm_jax.operators.transforms import FOURIER, WALSH_HADAMARD

REGISTRY = {
    named.name: named
    for named in (
        IDENTITY,
        CROP,
        INPAINT,
        SUPER_RESOLUTION,
        BLUR,
        UNIFORM_BLUR,
        GAUSSIAN_BLUR,
        MOTION_BLUR,
        GRAYSCALE,
        JPEG,
        QUANTIZE,
        LOW_DYNAMIC_RANGE,
        WALSH_HADAMARD,
        FOURIER,
    )
}


def parse(text: str, image_shape: ImageShape, read: Read | None = None) -> Operator:
    """The operator that a text such as "super_resolution:4,box | jpeg:10" names.

    Operators stand in the order in which they damage the image, apart by "|". Their
    parameters follow ":", in order or as name=value, in quotes if they hold a comma or
    the like; without, defaults hold.

    Args:
      text: what to parse.
      image_shape: (height, width, channels) of the undamaged image.
      read: called with the kind of a file ("mask", "kernel" or "JPEG") and its name,
        where the text names one; no file is opened without.

    Raises:
      ValueError: if a name is unknown, or a parameter is missing, superfluous or out
        of range.
    """
    return build(parse_stages(text, REGISTRY), image_shape, read)


def build(
    stages: Sequence[Stage], image_shape: ImageShape, read: Read | None = None
) -> Operator:
    """The chain of parsed operators.

    Raises:
      ValueError: if one does not suit what comes before it, or a file cannot be read.
    """
    operators: list[Operator] = []
    shape: Any = check_image_shape(image_shape)
    for i, stage in enumerate(stages):
        operator = stage.build(shape, read)
        operators.append(operator)
        shape = operator.measurement_shape
        if i + 1 < len(stages) and not _is_image_shape(shape):
            raise ValueError(
                f"{str(stage)!r} does not give a picture, so it must come last"
            )
    return chain(*operators)


def _is_image_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) == 3
        and all(isinstance(n, int) for n in shape)
    )
