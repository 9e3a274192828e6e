"""What may have happened to a photo, in everyday language, and the task it makes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pigdm_jax.pictures.task import Task

# Blurs are undone with at least this much noise; a good camera's.
FAINT = 0.01
MASK = "mask.png"


class Field(NamedTuple):
    """A parameter that the page asks for.

    Attributes:
      name: of the parameter.
      label: what the page calls it.
      default: its value at first.
      low, high, step: of a number; all None for a choice or a switch.
      choices: (what the page shows, value) of each; empty for a number or a switch.
      info: a hint.
      clean_only: whether it is asked for only if the photo is damaged first.
    """

    name: str
    label: str
    default: Any
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[tuple[str, Any], ...] = ()
    info: str = ""
    clean_only: bool = False


class Kind(NamedTuple):
    """A kind of damage.

    Attributes:
      name: its name in the code.
      label: what the page calls it.
      fields: its parameters.
    """

    name: str
    label: str
    fields: tuple[Field, ...] = ()


NOISE = Field(
    "noise",
    "Noise in the photo (0.01 is a good camera)",
    FAINT,
    *(0.002, 0.2, 0.002),
    info="Sharpening amplifies noise: more noise, a smoother result.",
)
WHERE = Field(
    "where",
    "Where?",
    "painted",
    choices=(
        ("Where I paint, or in my mask", "painted"),
        ("Brush strokes at random", "freeform"),
        ("A square in the middle", "center"),
        ("Half of all pixels", "random,0.5"),
    ),
    clean_only=True,
)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "small",
            "It is small",
            (
                Field(
                    "factor",
                    "How many times larger?",
                    4,
                    choices=tuple((f"{n} times", n) for n in (2, 3, 4, 8)),
                ),
                Field(
                    "kernel",
                    "How was it made small?",
                    "box",
                    choices=(
                        ("Means of blocks (most programs)", "box"),
                        ("Bicubic", "bicubic"),
                        ("Lanczos", "lanczos3"),
                    ),
                ),
            ),
        ),
        Kind("holes", "It is scratched, or has something to remove", (WHERE,)),
        Kind(
            "blurred",
            "It is blurred (out of focus)",
            (Field("std", "Width of the blur in pixels", 2.0, 0.5, 10, 0.1), NOISE),
        ),
        Kind(
            "shaken",
            "It is blurred (the camera moved)",
            (
                Field("length", "Length of the movement in pixels", 9, 2, 60, 1),
                Field(
                    "angle",
                    "Direction in degrees (0 is horizontal, 90 vertical)",
                    *(0, -90, 90, 1),
                ),
                NOISE,
            ),
        ),
        Kind(
            "noisy",
            "It is noisy",
            (
                Field("estimated", "Estimate how strong the noise is", True),
                Field(
                    "level",
                    "Strength of the noise (0.02 is faint, 0.1 is strong)",
                    *(0.1, 0.005, 0.5, 0.005),
                ),
            ),
        ),
        Kind(
            "jpeg",
            "It has JPEG blocks",
            (
                Field("header", "Read the quality from the file", True),
                Field("quality", "JPEG quality", 20, 1, 95, 1),
            ),
        ),
        Kind(
            "clipped",
            "It is dark and clipped, or lacks contrast",
            (
                Field(
                    "clip",
                    "Part of the range of brightness that was kept",
                    *(0.6, 0.1, 1.0, 0.05),
                ),
                Field("bits", "Bits of each colour (4 are 16 levels)", 4, 1, 8, 1),
            ),
        ),
        Kind(
            "banded",
            "It has few colours (bands)",
            (Field("bits", "Bits of each colour (4 are 16 levels)", 4, 1, 8, 1),),
        ),
        Kind("grey", "It is grey and should have colour"),
    )
}
"""The kinds of damage by name, in the order in which the page lists them."""
QUANTISING = ("jpeg", "clipped", "banded")
BLURS = ("blurred", "shaken")


class Damage(NamedTuple):
    """What happened to a photo, as a visitor chose it.

    Attributes:
      kind: a name in KINDS.
      values: of its fields, by their names.
    """

    kind: str
    values: Mapping[str, Any] = {}


def check_damage(damage: Damage) -> Damage:
    """A damage with a value for each of its fields, each of which the page offers.

    What a browser sends may be anything.

    Raises:
      ValueError: if the kind or a value is none that the page offers.
    """
    if damage.kind not in KINDS:
        raise ValueError(f"there is no damage {damage.kind!r}; choose one of the list")
    values = {}
    for field in KINDS[damage.kind].fields:
        value = damage.values.get(field.name, field.default)
        values[field.name] = _checked(field, value)
    return Damage(damage.kind, values)


def _checked(field: Field, value: Any) -> Any:
    """A value of a field.

    Raises:
      ValueError: if it is out of the field's range.
    """
    if field.choices:
        for _, choice in field.choices:
            if value == choice:
                return choice
        raise ValueError(f"{field.label!r}: choose one of the list")
    if field.low is None or field.high is None:
        return bool(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not field.low <= value <= field.high:
        raise ValueError(
            f"{field.label!r} must be a number from {field.low:g} to {field.high:g}"
        )
    whole = isinstance(field.step, int) and isinstance(field.default, int)
    return round(value) if whole else round(float(value), 6)


def needs_mask(damages: Sequence[Damage]) -> bool:
    """Whether a mask is to be painted or uploaded."""
    return any(
        damage.kind == "holes" and damage.values.get("where", "painted") == "painted"
        for damage in damages
    )


def task_for(
    damages: Sequence[Damage], *, simulate: bool = False, mask: str = MASK
) -> Task:
    """The task of a photo to which several things happened.

    Args:
      damages: what happened, in order; at least one.
      simulate: whether the photo is clean and is damaged first.
      mask: the file of the mask.

    Raises:
      ValueError: if nothing is chosen, a value is out of range, or noise is chosen
        twice.

    Examples:
      >>> from pigdm_jax.app.damages import Damage, task_for
      >>> str(task_for([Damage("small", {"factor": 2}), Damage("jpeg")]))
      'super_resolution:2 | jpeg'
      >>> str(task_for([Damage("blurred")]))
      'gaussian_blur:2.0 | denoise:0.01'
    """
    if not damages:
        raise ValueError("choose what happened to the photo")
    damages = [check_damage(damage) for damage in damages]
    parts = [_text(damage, simulate, mask) for damage in damages]
    blurs = [damage for damage in damages if damage.kind in BLURS]
    linear = not any(damage.kind in QUANTISING for damage in damages)
    if blurs and linear and all(damage.kind != "noisy" for damage in damages):
        noise = max(damage.values["noise"] for damage in blurs)
        parts.append(f"denoise:{noise}")
    return Task.parse(" | ".join(parts))


def _text(damage: Damage, simulate: bool, mask: str) -> str:
    """A stage of the task's text."""
    values = damage.values
    match damage.kind:
        case "small":
            kernel = "" if values["kernel"] == "box" else f",{values['kernel']}"
            return f"super_resolution:{values['factor']}{kernel}"
        case "holes":
            painted = not simulate or values["where"] == "painted"
            quoted = '"' + mask.replace('"', '""') + '"'
            return f"inpaint:{quoted if painted else values['where']}"
        case "blurred":
            return f"gaussian_blur:{values['std']}"
        case "shaken":
            return f"motion_blur:{values['length']},{values['angle']}"
        case "noisy":
            estimated = values["estimated"] and not simulate
            return "denoise" if estimated else f"denoise:{values['level']}"
        case "jpeg":
            from_header = values["header"] and not simulate
            return "jpeg" if from_header else f"jpeg:{values['quality']}"
        case "clipped":
            return f"low_dynamic_range:{values['clip']},identity,{values['bits']}"
        case "banded":
            return f"quantize:{values['bits']}"
        case _:
            return "grayscale"
