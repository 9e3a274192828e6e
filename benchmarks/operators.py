"""Accuracy and time of every operator, against float64 and a step of the network.

    python benchmarks/operators.py

Accuracy: largest error of the pseudoinverse at 64 x 64, relative to its largest value,
against the same operator in float64 (and, for what has no closed form, a solution by
SciPy's LSMR). Time: at 256 x 256, and as a share of one evaluation of the 256 x 256 ADM
network with its vector-Jacobian product on the same machine. The last row is what the
sampler needs around a network that does nothing, with `identity`.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from configurations import ADM_256

from pigdm_jax import Problem, UNet, from_denoiser, restore
from pigdm_jax import operators as ops
from pigdm_jax.samplers import DDIM

KERNEL = np.array([[0.0, 0.3, 0.1], [0.2, 0.9, 0.0], [0.1, 0.0, 0.2]]) / 1.8

OPERATORS = {
    "identity": ops.identity,
    "inpaint": lambda s: ops.inpaint(s, ops.freeform_mask(s)),
    "super_resolution box": lambda s: ops.super_resolution(s, 4),
    "super_resolution bicubic": lambda s: ops.super_resolution(s, 4, "bicubic"),
    "super_resolution lanczos3": lambda s: ops.super_resolution(s, 4, "lanczos3"),
    "uniform_blur": ops.uniform_blur,
    "gaussian_blur": ops.gaussian_blur,
    "gaussian_blur circular": lambda s: ops.gaussian_blur(s, 2.0, "circular"),
    "blur by a kernel": lambda s: ops.blur(s, KERNEL, "reflect"),
    "motion_blur": lambda s: ops.motion_blur(s, 9.0, 30.0),
    "grayscale": ops.grayscale,
    "walsh_hadamard": ops.walsh_hadamard,
    "fourier": lambda s: ops.fourier(s, ops.cartesian_mask(s)),
    "inpaint, then box": lambda s: ops.chain(
        ops.inpaint(s, ops.random_mask(s, 0.5)), ops.super_resolution(s, 2)
    ),
    "jpeg": ops.jpeg,
    "quantize": ops.quantize,
    "low_dynamic_range": ops.low_dynamic_range,
}
DAMPING = 1e-2


def error(operator) -> float:
    """Of the damped pseudoinverse, against LSMR in float64 on the same function."""
    shape = operator.image_shape
    x = np.random.default_rng(0).uniform(-1, 1, shape)
    y = operator.apply(jnp.asarray(x, jnp.float32))
    ours = np.asarray(operator.pinv(y, DAMPING), np.float64)
    with jax.enable_x64(True):
        double = jax.tree.map(
            lambda a: (
                a.astype(
                    {"float32": "float64", "complex64": "complex128"}.get(a.dtype.name)
                )
                if a.dtype.kind in "fc"
                else a
            ),
            operator,
        )
        image = jax.ShapeDtypeStruct(shape, jnp.float64)
        apply = jax.jit(double.apply)
        transpose = jax.jit(jax.linear_transpose(double.apply, image))
        y64 = np.asarray(y, np.float64)
        matrix = scipy.sparse.linalg.LinearOperator(
            (y64.size, x.size),
            matvec=lambda v: np.ravel(apply(v.reshape(shape))),
            rmatvec=lambda u: np.ravel(transpose(u.reshape(y64.shape))[0]),
            dtype=np.float64,
        )
        exact = scipy.sparse.linalg.lsmr(
            matrix, y64.ravel(), damp=DAMPING**0.5, atol=1e-12, btol=1e-12, maxiter=5000
        )[0]
    return float(np.abs(ours.ravel() - exact).max() / np.abs(exact).max())


def milliseconds(function, *arguments, rounds: int = 5) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def network_step() -> float:
    """One evaluation of the 256 x 256 ADM network and its gradient, in ms."""
    net = UNet(ADM_256)
    x, t = jnp.ones((1, 256, 256, 3)), jnp.ones(1)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)
    params = jax.tree.map(lambda s: jnp.full(s.shape, 1e-3), shapes)

    @jax.jit
    def step(params, x):
        out, vjp = jax.vjp(lambda x: net.apply(params, x, t)[..., :3], x)
        return vjp(out)[0]

    return milliseconds(step, params, x, rounds=1)


def sampler_step(steps: int = 20) -> float:
    """A step of the sampler with a prior that costs next to nothing, in ms."""
    shape = (256, 256, 3)
    prior = from_denoiser(lambda x, t: 0.5 * x)
    problem = Problem(ops.identity(shape), jnp.zeros(shape))
    key, sampler = jax.random.key(0), DDIM(steps=steps)
    return milliseconds(lambda: restore(prior, problem, key, sampler)) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--step-ms", type=float, help="skip the network, take this")
    args = parser.parse_args()
    step = args.step_ms or network_step()
    print(f"{jax.devices()[0].device_kind}; a network step takes {step:.0f} ms")
    print("| operator | largest error | apply, ms | pinv, ms | both, % of a step |")
    print("| --- | --- | --- | --- | --- |")
    for name, make in OPERATORS.items():
        operator = make((64, 64, 3))
        accuracy = f"{error(operator):.0e}" if operator.linear else "exact"
        operator = make((256, 256, 3))
        x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (256, 256, 3)), "f4")
        apply = jax.jit(lambda o, x: o.apply(x))
        pinv = jax.jit(lambda o, y: o.pinv(y, DAMPING) if o.linear else o.pinv(y))
        y = apply(operator, x)
        times = milliseconds(apply, operator, x), milliseconds(pinv, operator, y)
        part = 100 * sum(times) / step
        print(
            f"| {name} | {accuracy} | {times[0]:.2f} | {times[1]:.2f} | {part:.3f} |",
            flush=True,
        )
    around = sampler_step()
    part = 100 * around / step
    print(f"| the sampler, a step | | {around:.2f} in all | | {part:.3f} |")


if __name__ == "__main__":
    main()
