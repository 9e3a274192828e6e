"""The picture of the README: measurements, restorations and originals.

python benchmarks/picture.py benchmarks/results/restorations.png
"""

import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.pictures.figures import side_by_side
from pigdm_jax.pictures.problems import degradation_to_simulate, simulated
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers import default

PHOTOS = Path(__file__).parent / "photos"
ROWS = [
    ("coffee", "super_resolution:4,box", None),
    ("chelsea", "inpaint:freeform,,3", None),
    ("coffee", "gaussian_blur:2", 0.01),
    ("chelsea", "denoise", 0.1),
    ("coffee", "low_dynamic_range", None),
    ("coffee", "jpeg:10", None),
]


def row(prior: pj.Prior, name: str, text: str, noise: float | None) -> Image.Image:
    key = jax.random.key(0)
    photo = pj.read_image(PHOTOS / f"{name}.png")
    task = Task.parse(text).with_noise(noise)
    case = simulated(photo, degradation_to_simulate(photo.shape[:2], task), key)
    problem = case.problem
    restored = restore_picture(prior, problem, key, default(prior, problem)).picture
    title = text if noise is None else f"{text}, noise {noise}"
    return side_by_side(
        {
            title: np.asarray(problem.operator.to_picture(problem.y)),
            "restored": restored,
            "original": case.original,
        }
    )


def main() -> None:
    prior = pj.load_prior("photos-64")
    rows = [row(prior, *parts) for parts in ROWS]
    size = (2 * rows[0].width, sum(r.height for r in rows[::2]))
    canvas = Image.new("RGB", size, "white")
    for i, picture in enumerate(rows):
        canvas.paste(picture, (i % 2 * rows[0].width, i // 2 * rows[0].height))
    pj.write_picture(sys.argv[1], canvas.quantize(256))


if __name__ == "__main__":
    main()
