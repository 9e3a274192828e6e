"""How many quantised coefficients equal those of libjpeg, quality by quality.

    python benchmarks/jpeg_agreement.py --photos ../shared/data/eval/kodak

What libjpeg rounds is put back step by step: "exact" is the transform without any
rounding before that to the quantisation steps, "rounded Y" has luma rounded to whole
numbers first, and "luma" is the operator, which also rounds after each axis of the
transform. What is left of luma is all fixed-point arithmetic (16 bits for luma, 13 in
the factored DCT): with it the shares are 100. Chroma is also rounded before and after
averaging. The last two columns are what `pigdm restore FILE --task jpeg` falls back on
without jpeglib: the coefficients of the decoded file's pixels, against the file's.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import jpeglib
import numpy as np

from pigdm_jax.operators import jpeg
from pigdm_jax.operators.jpeg_blocks import DCT, LUMA
from pigdm_jax.pictures.levels import to_picture
from pigdm_jax.pictures.reading import read_image


def centred_luma(x):
    return (np.asarray(x, np.float64) + 1) @ LUMA * 127.5 - 128


def transformed(plane, table):
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8)
    return np.rint(np.einsum("ui,ribj,vj->rbuv", DCT, blocks, DCT) / table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--qualities", type=int, nargs="+", default=[5, 10, 20, 50, 90])
    args = parser.parse_args()
    measure = jax.jit(lambda operator, x: operator.apply(x))
    paths = sorted(args.photos.glob("*.png"))
    print(f"{len(paths)} photos, 4:2:0, share of equal coefficients in %")
    print("| quality | exact | rounded Y | luma | chroma | luma again | chroma again |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for quality in args.qualities:
        names = ("exact", "rounded Y", "luma", "chroma", "luma again", "chroma again")
        same = {name: [] for name in names}
        for path in paths:
            x = read_image(path)
            with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
                to_picture(x).save(file.name, quality=quality, subsampling="4:2:0")
                theirs = jpeglib.read_dct(file.name)
                decoded = read_image(file.name)
            operator = jpeg(x.shape, quality)
            ours = measure(operator, jnp.asarray(x))
            plane, table = centred_luma(x), np.asarray(operator.luma_table)
            same["exact"].append((transformed(plane, table) == theirs.Y).mean())
            plane = np.rint(plane)
            same["rounded Y"].append((transformed(plane, table) == theirs.Y).mean())
            same["luma"].append((ours.y == theirs.Y).mean())
            same["chroma"].append((ours.cb == theirs.Cb).mean())
            same["chroma"].append((ours.cr == theirs.Cr).mean())
            again = measure(operator, jnp.asarray(decoded))
            same["luma again"].append((again.y == theirs.Y).mean())
            same["chroma again"].append((again.cb == theirs.Cb).mean())
            same["chroma again"].append((again.cr == theirs.Cr).mean())
        shares = " | ".join(f"{100 * np.mean(values):.3f}" for values in same.values())
        print(f"| {quality} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
