"""Makes the pictures of the site, each by the commands that its page shows.

python docs/make_pictures.py            # all of them, about ten minutes on two cores
python docs/make_pictures.py holes jpeg
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).resolve().parent
PHOTOS = DOCS.parent / "benchmarks" / "photos"
PIGDM = Path(sys.executable).with_name("pigdm")

# What the command writes as `PHOTO-figure.png`.
FIGURES = {
    "small": 'restore coffee.png --task "super_resolution:4" --simulate',
    "holes": 'restore chelsea.png --task "inpaint:freeform,,3" --simulate',
    "dots": 'restore chelsea.png --task "inpaint:random,0.5" --simulate',
    "noisy": 'restore chelsea.png --task "denoise:0.1" --simulate',
    "blurred": 'restore coffee.png --task "gaussian_blur:2 | denoise:0.01" --simulate',
    "shaken": 'restore coffee.png --task "motion_blur:9,30 | denoise:0.01" --simulate',
    "jpeg": 'restore coffee.png --task "jpeg:10" --simulate',
    "clipped": 'restore coffee.png --task "low_dynamic_range" --simulate',
    "grey": 'restore chelsea.png --task "grayscale" --sampler ddnm --steps 20 '
    "--simulate",
    "grey-default": 'restore chelsea.png --task "grayscale" --simulate',
    "several": 'restore coffee.png --task "super_resolution:2 | jpeg:30" --simulate',
    "samples": 'restore chelsea.png --task "super_resolution:4" --simulate '
    "--samples 4 --aim detail",
    "large-hole": 'restore chelsea.png --task "inpaint:center,56" --simulate',
    "eight-times": 'restore chelsea.png --task "super_resolution:8" --simulate',
    "jpeg-3": 'restore coffee.png --task "jpeg:3" --simulate',
}

# Commands, and the files to put side by side with their captions.
COMPARISONS = {
    "wrong-noise": (
        (
            'degrade chelsea.png --task "denoise:0.1" --out noisy.png',
            'restore noisy.png --task "denoise:0.05" --out low.png',
            'restore noisy.png --task "denoise:0.1" --out right.png',
            'restore noisy.png --task "denoise:0.2" --out high.png',
        ),
        {
            "noisy.png": "noise 0.1",
            "low.png": "denoise:0.05",
            "right.png": "denoise:0.1",
            "high.png": "denoise:0.2",
        },
    ),
    "wrong-blur": (
        (
            'degrade coffee.png --task "gaussian_blur:2 | denoise:0.01" '
            "--out blurred.png",
            'restore blurred.png --task "gaussian_blur:1.5 | denoise:0.01" '
            "--out low.png",
            'restore blurred.png --task "gaussian_blur:2 | denoise:0.01" '
            "--out right.png",
            'restore blurred.png --task "gaussian_blur:3 | denoise:0.01" '
            "--out high.png",
        ),
        {
            "blurred.png": "blurred by 2",
            "low.png": "gaussian_blur:1.5",
            "right.png": "gaussian_blur:2",
            "high.png": "gaussian_blur:3",
        },
    ),
}


def run(command: str, folder: Path) -> None:
    """Run the command line tool in a folder.

    Raises:
      CalledProcessError: if it fails.
    """
    print("+ pigdm", command, flush=True)
    subprocess.run([PIGDM, *shlex.split(command)], cwd=folder, check=True)


def side_by_side(pictures: dict[Path, str]) -> Image.Image:
    """Pictures of one size in a row, each twice as large and with its caption."""
    size, gap, text = 256, 12, 30
    width = gap + len(pictures) * (size + gap)
    canvas = Image.new("RGB", (width, size + 2 * gap + text), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for i, (path, caption) in enumerate(pictures.items()):
        left = gap + i * (size + gap)
        picture = Image.open(path).convert("RGB")
        picture = picture.resize((size, size), Image.Resampling.NEAREST)
        canvas.paste(picture, (left, gap))
        middle = (left + size / 2, size + gap + text / 2)
        draw.text(middle, caption, fill="black", font=font, anchor="mm")
    return canvas


def wrapped(figure: Image.Image, stride: int = 268, columns: int = 5) -> Image.Image:
    """A figure of many panels in rows, so that it fits onto a page."""
    margin = figure.width % stride
    panels = figure.width // stride
    if panels <= columns:
        return figure
    rows = -(-panels // columns)
    canvas = Image.new(
        "RGB", (columns * stride + margin, rows * figure.height), "white"
    )
    for row in range(rows):
        left = row * columns * stride
        right = min(left + columns * stride + margin, figure.width)
        part = figure.crop((left, 0, right, figure.height))
        canvas.paste(part, (0, row * figure.height))
    return canvas


def make(name: str) -> Image.Image:
    """One picture, made in a temporary folder that holds the photos."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for photo in PHOTOS.glob("*.png"):
            (folder / photo.name).symlink_to(photo)
        if name in FIGURES:
            run(FIGURES[name], folder)
            (figure,) = folder.glob("*-figure.png")
            return wrapped(Image.open(figure).convert("RGB"))
        commands, panels = COMPARISONS[name]
        for command in commands:
            run(command, folder)
        return side_by_side({folder / file: text for file, text in panels.items()})


def main() -> None:
    """Make the pictures that are named, or all of them."""
    for name in sys.argv[1:] or [*FIGURES, *COMPARISONS]:
        make(name).save(DOCS / "pictures" / f"{name}.webp", quality=88, method=6)


if __name__ == "__main__":
    main()
