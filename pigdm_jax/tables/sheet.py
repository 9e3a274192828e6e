"""A contact sheet: a few images of each row, beside measurement and original."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.reading import read_image
from pigdm_jax.tables.experiment import Experiment

IMAGES = 3
PANEL, GAP, TEXT = 128, 6, 22
CAPTIONS = ("original", "measurement", "restored")


def contact_sheet(experiments: Sequence[Experiment]) -> PillowImage.Image:
    """Draw a row of pictures for each row of a table.

    Args:
      experiments: the rows, restored.
    """
    width = IMAGES * (len(CAPTIONS) * (PANEL + GAP) + 2 * GAP)
    height = TEXT + len(experiments) * (TEXT + PANEL + GAP)
    canvas = PillowImage.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for column in range(IMAGES):
        for i, caption in enumerate(CAPTIONS):
            place = (_left(column, i) + PANEL / 2, TEXT / 2)
            draw.text(place, caption, "black", font, anchor="mm")
    for number, experiment in enumerate(experiments):
        top = TEXT + number * (TEXT + PANEL + GAP)
        row = experiment.row
        title = f"{row.title}: {row.task}{f', noise {row.noise:g}' * bool(row.noise)}"
        draw.text((GAP, top + TEXT / 2), title, "black", font, anchor="lm")
        for column, entry in enumerate(experiment.entries[:IMAGES]):
            for i, panel in enumerate(_panels(experiment, entry.output)):
                canvas.paste(_scaled(panel), (_left(column, i), top + TEXT))
    return canvas


def _left(column: int, panel: int) -> int:
    """Left border of a panel."""
    before = column * (len(CAPTIONS) * (PANEL + GAP) + 2 * GAP)
    return before + GAP + panel * (PANEL + GAP)


def _panels(experiment: Experiment, name: str) -> list[PillowImage.Image]:
    """The pictures of one image; the same keys simulate the same measurement again."""
    path: Path = experiment.originals / name
    case, _ = experiment.request.read(path)
    shown = case.problem.operator.to_picture(case.problem.y)
    images = [read_image(path), np.asarray(shown)]
    images.append(read_image(experiment.restored / name))
    return [to_picture(image).convert("RGB") for image in images]


def _scaled(picture: PillowImage.Image) -> PillowImage.Image:
    """A picture in the size of a panel; a small one by repeating pixels."""
    small = picture.width <= PANEL
    resampling = PillowImage.Resampling
    return picture.resize(
        (PANEL, PANEL), resampling.NEAREST if small else resampling.BOX
    )
