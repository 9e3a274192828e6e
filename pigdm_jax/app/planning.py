"""What a restoration will compute, for how long and in how much memory."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pigdm_jax.app.choices import Choices
from pigdm_jax.app.damages import MASK, needs_mask
from pigdm_jax.app.pace import Pace, work_of
from pigdm_jax.app.running import prepare
from pigdm_jax.app.uploads import Limits, write_mask
from pigdm_jax.devices.memory import device_memory
from pigdm_jax.operators.jpeg_blocks import quality_tables
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.pictures.jpeg_files import read_jpeg_header
from pigdm_jax.priors.tiling import TiledPrior
from pigdm_jax.weights.disk import readable


class Plan(NamedTuple):
    """What a restoration will compute.

    Attributes:
      height, width: of the result in pixels.
      sampler: its text form.
      evaluations: of the prior, in all samples.
      seconds: without compiling; None if nothing like it was computed before.
      needed: bytes of memory that an evaluation takes at least.
      memory: bytes that the device has.
      tile: side of the windows; None if the photo is restored whole.
      remarks: what is assumed.
    """

    height: int
    width: int
    sampler: str
    evaluations: int
    seconds: float | None
    needed: int
    memory: int
    tile: int | None
    remarks: tuple[str, ...]

    def sentence(self) -> str:
        """The plan in a few sentences, for the visitor."""
        count, many = self.evaluations, "s" * (self.evaluations != 1)
        windows = f" in windows of {self.tile} pixels" if self.tile else ""
        time = "How long it takes is known after the first restoration"
        if self.seconds is not None:
            time = f"It takes about {duration(self.seconds)}"
        memory = f" Memory: at least {readable(self.needed)} of the device's "
        memory += f"{readable(self.memory)}."
        return (
            f"The result will have {self.width} x {self.height} pixels, by {count} "
            f"evaluation{many} of the network{windows}. {time}; the first photo of a "
            f"size takes longer, to compile.{memory * bool(self.needed)}"
        )


def plan_for(
    choices: Choices, photo: Path, folder: Path, pace: Pace, limits: Limits
) -> Plan:
    """What a restoration will compute; reads the photo and the prior.

    Args:
      choices: of the visitor.
      photo: the photo.
      folder: for a stand-in of the mask, which need not exist yet.
      pace: of earlier restorations.
      limits: of the page.

    Raises:
      ValueError: if it cannot be computed, in one sentence.
    """
    request = choices.request(stand_in_mask(choices, photo, folder / "stand-in.png"))
    prepared, sampler = prepare(request, photo, choices.samples, limits)
    height, width, _ = prepared.case.problem.operator.image_shape
    shape = prepared.case.problem.operator.restored_shape
    prior, count = prepared.prior, choices.samples * sampler.evaluations
    return Plan(
        height,
        width,
        str(sampler),
        count,
        pace.guess(work_of(prepared), count),
        prior.memory(shape),
        device_memory(),
        prior.tile if isinstance(prior, TiledPrior) else None,
        prepared.case.remarks,
    )


def stand_in_mask(choices: Choices, photo: Path, path: Path) -> str:
    """The name of a mask for a plan, before there is one; written if one is needed.

    Args:
      choices: of the visitor.
      photo: the photo.
      path: of the mask's file.
    """
    if not needs_mask(choices.damages):
        return MASK
    hidden = np.zeros((8, 8), bool)
    hidden[3:5, 3:5] = True
    return str(write_mask(hidden, mask_size(choices, photo), path))


def mask_size(choices: Choices, photo: Path) -> tuple[int, int]:
    """Height and width of the mask that the task takes.

    A mask before the photo became small has the size of the large image.

    Args:
      choices: of the visitor.
      photo: the photo.
    """
    height, width = read_header(photo).size
    kinds = [damage.kind for damage in choices.damages]
    at = kinds.index("holes")
    before, after = 1, 1
    for i, damage in enumerate(choices.damages):
        if damage.kind == "small":
            factor = int(damage.values.get("factor", 4))
            before, after = (
                (before * factor, after) if i < at else (before, after * factor)
            )
    if choices.simulate:
        whole = before * after
        return height // whole * after, width // whole * after
    return height * after, width * after


def jpeg_quality(photo: Path) -> int | None:
    """About the quality in a JPEG file's header; None for other files.

    Programs have tables of their own: the nearest of the standard ones counts.
    """
    with contextlib.suppress(ValueError):
        luma, _ = read_jpeg_header(photo).tables
        differences = {
            quality: np.abs(quality_tables(quality)[0] - luma).sum()
            for quality in range(1, 101)
        }
        return min(differences, key=lambda quality: differences[quality])
    return None


def duration(seconds: float) -> str:
    """A time for people.

    Examples:
      >>> from pigdm_jax.app.planning import duration
      >>> duration(0.4), duration(42), duration(200)
      ('1 second', '42 seconds', '3 minutes')
    """
    if seconds < 90:
        whole = max(1, round(seconds))
        return f"{whole} second{'s' * (whole != 1)}"
    return f"{round(seconds / 60)} minutes"
