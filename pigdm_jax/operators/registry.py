"""Operators by name, and the text that names a chain of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pigdm_jax.core.registry import Registry
from pigdm_jax.operators.named import Named, Read, Stage, parse_stages

if TYPE_CHECKING:
    import pigdm_jax.operators.base

REGISTRY: Registry[Named] = Registry(
    {
        "identity": "pigdm_jax.operators.cropping:IDENTITY",
        "crop": "pigdm_jax.operators.cropping:CROP",
        "inpaint": "pigdm_jax.operators.inpainting:INPAINT",
        "super_resolution": "pigdm_jax.operators.resizing:SUPER_RESOLUTION",
        "blur": "pigdm_jax.operators.blurring:BLUR",
        "uniform_blur": "pigdm_jax.operators.blurring:UNIFORM_BLUR",
        "gaussian_blur": "pigdm_jax.operators.blurring:GAUSSIAN_BLUR",
        "motion_blur": "pigdm_jax.operators.blurring:MOTION_BLUR",
        "grayscale": "pigdm_jax.operators.channels:GRAYSCALE",
        "jpeg": "pigdm_jax.operators.jpeg_codec:JPEG",
        "quantize": "pigdm_jax.operators.quantization:QUANTIZE",
        "low_dynamic_range": "pigdm_jax.operators.quantization:LOW_DYNAMIC_RANGE",
        "walsh_hadamard": "pigdm_jax.operators.transforms:WALSH_HADAMARD",
        "fourier": "pigdm_jax.operators.transforms:FOURIER",
    }
)
"""The text forms of operators, by name."""


def parse(
    text: str, image_shape: tuple[int, ...], read: Read | None = None
) -> "pigdm_jax.operators.base.Operator":
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
    stages: Sequence[Stage], image_shape: tuple[int, ...], read: Read | None = None
) -> "pigdm_jax.operators.base.Operator":
    """The chain of parsed operators.

    Raises:
      ValueError: if one does not suit what comes before it, or a file cannot be read.
    """
    from pigdm_jax.operators.base import check_image_shape
    from pigdm_jax.operators.composition import chain

    operators: list[Any] = []
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
