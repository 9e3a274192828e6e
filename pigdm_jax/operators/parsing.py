"""From a text such as "super_resolution:4,box | jpeg:10" to its operator."""

from collections.abc import Callable, Sequence
from typing import Any

from pigdm_jax.operators.base import ImageShape, Operator, check_image_shape
from pigdm_jax.operators.composition import chain, is_image_shape, shown_shape
from pigdm_jax.operators.named import Stage, parse_stages
from pigdm_jax.operators.registry import REGISTRY

Read = Callable[[str, str], Any]
"""Reads a file that a parameter names, for instance read("mask", "mask.png")."""


def parse(text: str, image_shape: ImageShape, read: Read | None = None) -> Operator:
    """The operator that a text such as "super_resolution:4,box | jpeg:10" names.

    Operators are separated by "|", in the order in which they are applied to the
    image. Parameters follow ":", in order or as name=value; those not given have their
    defaults. A value that contains a comma or another separator is quoted.

    Args:
      text: NAME or NAME:PARAMETER,PARAMETER for each operator.
      image_shape: (height, width, channels) of the image.
      read: called with the kind of a file ("mask", "kernel" or "JPEG") and its name
        where the text names one; returns what the operator's constructor takes. If
        None, a text that names a file is an error.

    Returns:
      The operator, a chain of several.

    Raises:
      ValueError: if a name is unknown, a parameter is missing, unknown or out of range,
        or the operators do not suit the shape or each other.

    Examples:
      >>> from pigdm_jax import operators
      >>> operators.parse("super_resolution:2,bicubic", (8, 8, 3)).measurement_shape
      (4, 4, 3)
      >>> operators.parse("grayscale | quantize:bits=3", (8, 8, 3)).measurement_shape
      (8, 8, 1)
    """
    return build(parse_stages(text, REGISTRY), image_shape, read)


def build(
    stages: Sequence[Stage], image_shape: ImageShape, read: Read | None = None
) -> Operator:
    """The operator of parsed stages.

    Args:
      stages: one or more, in the order in which they are applied to the image.
      image_shape: (height, width, channels) of the image.
      read: as for `parse`.

    Raises:
      ValueError: if a stage does not suit the one before it, or a file cannot be read.
    """
    operators: list[Operator] = []
    shape: Any = check_image_shape(image_shape)
    for i, stage in enumerate(stages):
        operator = _build_stage(stage, shape, read)
        operators.append(operator)
        shape = shown_shape(operator)
        if i + 1 < len(stages) and not is_image_shape(shape):
            raise ValueError(f"{str(stage)!r} does not give a picture; it must be last")
    return chain(*operators)


def _build_stage(stage: Stage, image_shape: ImageShape, read: Read | None) -> Operator:
    """One operator; the files that its parameters name are read first."""
    arguments = stage.given
    for parameter in stage.named.parameters:
        value = arguments.get(parameter.name)
        if parameter.names_file(value):
            if read is None:
                raise ValueError(
                    f"{stage.named.name}: {parameter.name} is the name of a file, "
                    f"{value}; pass parse a `read` function that opens it"
                )
            try:
                arguments[parameter.name] = read(parameter.file_kind, value)
            except ValueError as error:
                raise ValueError(
                    f"{stage.named.name}: {error}; {parameter.name} is "
                    f"{parameter.describe()}"
                ) from None
    return stage.named.constructor(image_shape, **arguments)
