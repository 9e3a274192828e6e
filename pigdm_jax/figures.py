"""Pictures side by side, with a line of text under each."""

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from pigdm_jax.io import to_picture

GAP, TEXT_HEIGHT, SMALLEST_PANEL = 12, 30, 256


def side_by_side(panels: dict[str, Float[np.ndarray, "..."]]) -> Image.Image:
    """One row of pictures.

    Small ones are enlarged by repeating pixels, so that every panel is as high as the
    highest and at least 256 pixels.

    Args:
      panels: images (height, width, channels) in [-1, 1], each by its caption.
    """
    pictures = {
        text: to_picture(image).convert("RGB") for text, image in panels.items()
    }
    height = max(SMALLEST_PANEL, *(p.height for p in pictures.values()))
    pictures = {
        text: p.resize((round(p.width * height / p.height), height), _filter(p, height))
        for text, p in pictures.items()
    }
    font = ImageFont.load_default(16)
    widths = [max(p.width, round(font.getlength(text))) for text, p in pictures.items()]
    canvas = Image.new(
        "RGB",
        (sum(widths) + GAP * (len(widths) + 1), height + 2 * GAP + TEXT_HEIGHT),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    left = GAP
    for (text, picture), width in zip(pictures.items(), widths, strict=True):
        canvas.paste(picture, (left + (width - picture.width) // 2, GAP))
        middle = (left + width / 2, height + GAP + TEXT_HEIGHT / 2)
        draw.text(middle, text, fill="black", font=font, anchor="mm")
        left += width + GAP
    return canvas


def _filter(picture: Image.Image, height: int) -> Image.Resampling:
    whole = height % picture.height == 0
    return Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC
