"""Pictures side by side, maps of standard deviations, and plots of traces."""

import importlib.util
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.samplers import Trace

GAP, TEXT_HEIGHT, SMALLEST_PANEL = 12, 30, 256


def side_by_side(panels: dict[str, Float[np.ndarray, "..."]]) -> Image.Image:
    """Draw pictures in one row, with captions.

    All are scaled to the height of the highest, at least 256 pixels; by repeating
    pixels if the factor is an integer.

    Args:
      panels: images (height, width, channels) in [-1, 1], by their captions.
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
    x = GAP
    for (text, picture), width in zip(pictures.items(), widths, strict=True):
        canvas.paste(picture, (x + (width - picture.width) // 2, GAP))
        middle = (x + width / 2, height + GAP + TEXT_HEIGHT / 2)
        draw.text(middle, text, fill="black", font=font, anchor="mm")
        x += width + GAP
    return canvas


def _filter(picture: Image.Image, height: int) -> Image.Resampling:
    whole = height % picture.height == 0
    return Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC


def deviation_map(std: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "H W 1"]:
    """A standard deviation as a grey image in [-1, 1]: 0 is black, the largest white.

    Channels are combined by their root mean square.
    """
    pixels = np.sqrt(np.mean(np.square(std), axis=-1, keepdims=True))
    return 2 * pixels / max(pixels.max(), np.finfo(np.float32).tiny) - 1


def check_can_plot() -> None:
    """Check that matplotlib is installed.

    Raises:
      ValueError: with the command that installs it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plots need matplotlib: pip install 'pigdm-jax[plot]'")


def plot_traces(traces: Sequence[Trace], noise_std: float = 0.0) -> Image.Image:
    """Plot residual, guidance and x0 over the evaluations, a line for each sample.

    The first panel corresponds to figure 17 of the paper. If the measurement is noisy,
    a dashed line shows the noise level; a residual far below it means that the sample
    fits the noise.

    Args:
      traces: from `restore(..., trace=True)`.
      noise_std: of the problem.

    Raises:
      ValueError: if matplotlib is not installed.
    """
    check_can_plot()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = {
        "measurement residual, RMS of y - h(x0)": "residual",
        "guidance, RMS of what was added": "guidance_norm",
        "predicted image, RMS of x0": "x0_norm",
    }
    for axes, (title, name) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for i, trace in enumerate(traces):
            values = np.asarray(getattr(trace, name))
            axes.plot(np.arange(1, len(values) + 1), values, label=f"sample {i + 1}")
        axes.set(title=title, xlabel="evaluation of the network")
        axes.grid(alpha=0.3)
        if any((np.asarray(getattr(trace, name)) > 0).any() for trace in traces):
            axes.set_yscale("log")
    residual = figure.axes[0]
    if noise_std > 0:
        residual.axhline(noise_std, color="black", linestyle="--", label="noise")
    if len(residual.get_lines()) > 1:
        residual.legend()
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
