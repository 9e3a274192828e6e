"""Products by transposed weights, as in the gradient of a dense layer, on CPUs.

    taskset -c 0 python benchmarks/product.py

"forward" is x W; "XLA" is x W^T as XLA computes it, and "multiply" as
`networks/kernels/product.py` does. Milliseconds, the least of 40 runs that take turns.
"""

import time
from collections.abc import Callable

import jax
import numpy as np

import pigdm_jax as pj
from pigdm_jax.networks.kernels.product import multiply

ROWS = (16, 64, 288, 1024)
# Those of JiT-B/16: (inputs, outputs).
WEIGHTS = {"qkv": (768, 2304), "w12": (768, 4096), "w3": (2048, 768)}
RUNS = 40


def gradient(product: Callable) -> Callable:
    """The product x W^T, the gradient of a product with respect to its rows."""

    def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
        rows = jax.ShapeDtypeStruct((x.shape[0], kernel.shape[0]), x.dtype)
        return jax.linear_transpose(lambda rows: product(rows, kernel), rows)(x)[0]

    return transposed


def main() -> None:
    rng = np.random.default_rng(0)
    codes = {
        "forward": lambda x, kernel: x @ kernel,
        "XLA": gradient(lambda x, kernel: x @ kernel),
        "multiply": gradient(multiply),
    }
    programs = {
        name: jax.jit(code, compiler_options=pj.compiler_options())
        for name, code in codes.items()
    }
    print("| layer | rows | forward | XLA | multiply | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for layer, (inner, outer) in WEIGHTS.items():
        kernel = jax.device_put(rng.standard_normal((inner, outer), np.float32))
        for rows in ROWS:
            sizes = {"forward": inner, "XLA": outer, "multiply": outer}
            x = {
                name: jax.device_put(rng.standard_normal((rows, size), np.float32))
                for name, size in sizes.items()
            }
            least = dict.fromkeys(programs, np.inf)
            for _ in range(RUNS):
                for name, program in programs.items():
                    start = time.perf_counter()
                    jax.block_until_ready(program(x[name], kernel))
                    seconds = time.perf_counter() - start
                    least[name] = min(least[name], 1e3 * seconds)
            print(
                f"| {layer} | {rows} | {least['forward']:.2f} | {least['XLA']:.2f} "
                f"| {least['multiply']:.2f} "
                f"| {least['XLA'] / least['multiply']:.2f} |"
            )


if __name__ == "__main__":
    main()
