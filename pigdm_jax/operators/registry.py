"""Operators by name, and the text that names a chain of them."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pigdm_jax.io import read_jpeg_header, read_kernel, read_mask
from pigdm_jax.operators.base import ImageShape, Operator, check_image_shape
from pigdm_jax.operators.blur import blur, gaussian_blur, motion_blur, uniform_blur
from pigdm_jax.operators.chain import chain
from pigdm_jax.operators.channels import grayscale
from pigdm_jax.operators.identity import crop, identity
from pigdm_jax.operators.inpaint import (
    center_mask,
    freeform_mask,
    inpaint,
    random_mask,
)
from pigdm_jax.operators.jpeg import jpeg
from pigdm_jax.operators.quantize import low_dynamic_range, quantize
from pigdm_jax.operators.super_resolution import super_resolution
from pigdm_jax.operators.transforms import cartesian_mask, fourier, walsh_hadamard


def denoise(image_shape: ImageShape) -> Operator:
    """The image itself, with noise (give its level apart)."""
    return identity(image_shape)


def inpaint_by_name(
    image_shape: ImageShape,
    mask: str = "freeform",
    amount: float | None = None,
    seed: int = 0,
) -> Operator:
    """Hidden pixels: center,SIZE | random,KEEP,SEED | freeform,,SEED | a mask FILE."""
    if mask == "center":
        side = min(image_shape[:2]) // 2 if amount is None else int(amount)
        return inpaint(image_shape, center_mask(image_shape, side))
    if mask == "random":
        keep = 0.5 if amount is None else amount
        return inpaint(image_shape, random_mask(image_shape, keep, seed))
    if mask == "freeform":
        return inpaint(image_shape, freeform_mask(image_shape, seed))
    return inpaint(image_shape, read_mask(mask))


def blur_by_file(
    image_shape: ImageShape, kernel: str, boundary: str = "reflect"
) -> Operator:
    """Blur by a kernel from a picture FILE, scaled to sum 1."""
    return blur(image_shape, read_kernel(kernel), boundary)


def jpeg_by_name(
    image_shape: ImageShape, quality: int | str = 10, subsampling: str = "4:2:0"
) -> Operator:
    """JPEG compression, 1 to 100, or as the header of a JPEG FILE tells."""
    if isinstance(quality, int):
        return jpeg(image_shape, quality, subsampling)
    if not Path(quality).exists():
        raise ValueError(
            "jpeg's quality is a whole number from 1 to 100, or a JPEG file; got "
            f"{quality!r}"
        )
    header = read_jpeg_header(quality)
    return jpeg(image_shape, subsampling=header.subsampling, tables=header.tables)


def fourier_by_columns(
    image_shape: ImageShape,
    acceleration: float = 4.0,
    center: float = 0.08,
    seed: int = 0,
) -> Operator:
    """Some columns of the 2-D Fourier transform (MRI); needs --simulate."""
    mask = cartesian_mask(image_shape, acceleration, center, seed)
    return fourier(image_shape, mask)


def walsh_hadamard_by_seed(
    image_shape: ImageShape, ratio: float = 0.25, seed: int = 0
) -> Operator:
    """A share of Walsh-Hadamard rows (compressed sensing); needs --simulate."""
    return walsh_hadamard(image_shape, ratio, seed)


REGISTRY: dict[str, Callable[..., Operator]] = {
    "identity": identity,
    "denoise": denoise,
    "crop": crop,
    "inpaint": inpaint_by_name,
    "super_resolution": super_resolution,
    "blur": blur_by_file,
    "uniform_blur": uniform_blur,
    "gaussian_blur": gaussian_blur,
    "motion_blur": motion_blur,
    "grayscale": grayscale,
    "jpeg": jpeg_by_name,
    "quantize": quantize,
    "low_dynamic_range": low_dynamic_range,
    "walsh_hadamard": walsh_hadamard_by_seed,
    "fourier": fourier_by_columns,
}


def parse(text: str, image_shape: ImageShape) -> Operator:
    """The operator that a text such as "super_resolution:4,box | jpeg:10" names.

    Operators stand in the order in which they damage the image, apart by "|". Their
    parameters follow ":", in order or as name=value; without, defaults hold.

    Args:
      text: what to parse.
      image_shape: (height, width, channels) of the undamaged image.

    Raises:
      ValueError: if a name is unknown, or a parameter is missing, superfluous or out
        of range.
    """
    operators: list[Operator] = []
    shape = check_image_shape(image_shape)
    for stage in text.split("|"):
        operator = _parse_one(stage.strip(), shape)
        operators.append(operator)
        shape = operator.measurement_shape
        last = len(operators) == len(text.split("|"))
        if not last and not _is_image_shape(shape):
            raise ValueError(
                f"{stage.strip()!r} does not give a picture, so it must come last"
            )
    return chain(*operators)


def enlargement(text: str) -> int:
    """How many times larger the image is than its measurement, along each side.

    Args:
      text: as `parse` takes it.

    Raises:
      ValueError: as `parse`.
    """
    factor = 1
    for stage in text.split("|"):
        name, arguments = _split(stage.strip())
        if name == "super_resolution":
            factor *= _bind(name, arguments)["factor"]
    return factor


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters that the text form of an operator takes."""
    signature = inspect.signature(REGISTRY[name])
    return {
        key: parameter
        for key, parameter in list(signature.parameters.items())[1:]
        if parameter.kind is not parameter.KEYWORD_ONLY
    }


def _is_image_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) == 3
        and all(isinstance(n, int) for n in shape)
    )


def _split(stage: str) -> tuple[str, list[str]]:
    name, _, rest = stage.partition(":")
    name = name.strip()
    if name not in REGISTRY:
        raise ValueError(f"no operator {name!r}; there are {', '.join(REGISTRY)}")
    return name, [word.strip() for word in rest.split(",")] if rest.strip() else []


def _parse_one(stage: str, image_shape: ImageShape) -> Operator:
    name, words = _split(stage)
    return REGISTRY[name](image_shape, **_bind(name, words))


def _bind(name: str, words: list[str]) -> dict[str, Any]:
    """Words matched to the constructor's parameters and made their types."""
    known = parameters(name)
    bound: dict[str, Any] = {}
    for position, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            if position >= len(known):
                raise ValueError(
                    f"{name} takes {usage(name)}; {word!r} is one parameter too many"
                )
            key, value = list(known)[position], word
        if value:
            bound[key] = _convert(name, key, value, known[key].annotation)
    for key, parameter in known.items():
        if key not in bound and parameter.default is parameter.empty:
            raise ValueError(f"{name} needs its {key}: write {usage(name)}")
    return bound


def _convert(name: str, key: str, value: str, annotation: Any) -> Any:
    kinds = [k for k in (int, float) if k in (annotation, *_union(annotation))]
    for kind in kinds:
        if kind is int and not re.fullmatch(r"[+-]?\d+", value):
            continue
        try:
            return kind(value)
        except ValueError:
            continue
    if kinds and str not in (annotation, *_union(annotation)):
        what = "a whole number" if kinds == [int] else "a number"
        raise ValueError(f"{name}: {key} is {what}, got {value!r}")
    return value


def _union(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())


def usage(name: str) -> str:
    """How an operator is written, for instance super_resolution:FACTOR[,KERNEL=box]."""
    text = name
    for i, (key, parameter) in enumerate(parameters(name).items()):
        mark = ":" if i == 0 else ","
        if parameter.default is parameter.empty:
            text += f"{mark}{key.upper()}"
        else:
            text += f"[{mark}{key.upper()}={parameter.default}]"
    return text
