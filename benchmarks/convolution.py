"""Convolutions and their gradients in a loop: JAX's own against ours.

    python benchmarks/convolution.py

The two take turns in one process; the ratio is of medians.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.convolution import convolve

SIZES = [(128, 32), (128, 64), (64, 64), (32, 96)]
STEPS, ROUNDS = 10, 5


def plain(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def loop(convolution):
    @jax.jit
    def run(x, kernel):
        def step(x, _):
            out, vjp = jax.vjp(lambda x: convolution(x, kernel), x)
            return vjp(out)[0], None

        return jax.lax.scan(step, x, None, length=STEPS)[0]

    return run


def main() -> None:
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, ms a step")
    print(
        "| image | channels | JAX's | ours | ratio |\n| --- | --- | --- | --- | --- |"
    )
    for side, channels in SIZES:
        x = jnp.ones((1, side, side, channels))
        kernel = jnp.full((3, 3, channels, channels), 1e-3)
        runs = [loop(plain), loop(convolve)]
        times = [[], []]
        for run in runs:
            run(x, kernel).block_until_ready()
        for _ in range(ROUNDS):
            for run, mine in zip(runs, times, strict=True):
                start = time.perf_counter()
                run(x, kernel).block_until_ready()
                mine.append((time.perf_counter() - start) / STEPS * 1e3)
        a, b = (np.median(t) for t in times)
        print(f"| {side} | {channels} | {a:.1f} | {b:.1f} | {a / b:.1f} |", flush=True)


if __name__ == "__main__":
    main()
