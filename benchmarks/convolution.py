"""Convolutions and their gradients in a loop: JAX's own against ours.

    python benchmarks/convolution.py

Ours twice: with its gradient as one product for all taps, and by Winograd's algorithm.
They take turns in one process; the ratios to JAX's are of medians.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.networks.kernels import convolution

SIZES = [(128, 32), (128, 64), (64, 64), (32, 96), (16, 1024), (8, 1024)]
STEPS, ROUNDS = 10, 5


def plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def loop(convolve, x, kernel, least_windows=0):
    """The compiled loop; Winograd's algorithm from so many windows."""

    @tuned_jit
    def run(x, kernel):
        def step(x, _):
            out, vjp = jax.vjp(lambda x: convolve(x, kernel), x)
            return vjp(out)[0], None

        return jax.lax.scan(step, x, None, length=STEPS)[0]

    before = convolution.LEAST_WINDOWS, convolution.LEAST_WORK
    convolution.LEAST_WINDOWS, convolution.LEAST_WORK = least_windows, 0
    try:
        run(x, kernel).block_until_ready()
    finally:
        convolution.LEAST_WINDOWS, convolution.LEAST_WORK = before
    return run


def main() -> None:
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, ms a step")
    print("| image | channels | JAX's | taps | ratio | Winograd | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for side, channels in SIZES:
        x = jnp.ones((1, side, side, channels))
        kernel = jnp.full((3, 3, channels, channels), 1e-3)
        runs = [
            loop(plain, x, kernel),
            loop(convolution.convolve, x, kernel, np.inf),
            loop(convolution.convolve, x, kernel),
        ]
        times = [[] for _ in runs]
        for _ in range(ROUNDS):
            for run, mine in zip(runs, times, strict=True):
                start = time.perf_counter()
                run(x, kernel).block_until_ready()
                mine.append((time.perf_counter() - start) / STEPS * 1e3)
        first, *others = (np.median(t) for t in times)
        cells = "".join(f" | {t:.1f} | {first / t:.1f}" for t in others)
        print(f"| {side} | {channels} | {first:.1f}{cells} |", flush=True)


if __name__ == "__main__":
    main()
