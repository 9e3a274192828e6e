r"""One evaluation of each architecture at 256 x 256, here and in PyTorch, on CPUs.

    pip install torch diffusers einops gdown pyyaml && pip install --no-deps azula
    python benchmarks/networks.py jit --turns 3 --rounds 5
    python benchmarks/networks.py adm --turns 3 --rounds 1
    python benchmarks/networks.py ddpm --turns 3 --rounds 2

Random weights, float32, one image: the output alone ("forward"), and with a
vector-Jacobian product with respect to the image ("guided"), which is nearly all of a
guided step. The codes take turns, each turn in a process of its own, so that only one
holds its weights and activations; their results must agree. PyTorch's is plain, eager
code: that of azula for JiT, whose blocks are not compiled then, `torch_adm.py` for the
ADM UNet, and diffusers for the DDPM's.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from configurations import ADM_256, DDPM_256, JIT_B16

import pigdm_jax as pj
from pigdm_jax.devices.timing import step_flops
from pigdm_jax.networks import ARCHITECTURES, Network, parameter_shapes

SAME = 1e-4  # relative L2 distance of outputs and gradients
SIDE = 256
CODES = ("pigdm_jax", "PyTorch")


def random_params(model: torch.nn.Module, network: Network, name: str) -> Any:
    """Fill PyTorch's network with random weights, and return them for ours.

    None is 0, as some are at the beginning of training.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            matrix = parameter.ndim > 1
            std = parameter[0].numel() ** -0.5 if matrix else 0.1
            parameter.normal_(0 if matrix else 0.5, std)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    return ARCHITECTURES[name].to_params(state.items(), network)


def jit() -> tuple[Network, Any, Callable]:
    """JiT-B/16: our network, its parameters, and azula's."""
    from azula.plugins.jit._src.model import JiT_models

    network, model = pj.PixelTransformer(JIT_B16), JiT_models["JiT-B/16"]()
    params = random_params(model, network, "jit")
    return network, params, lambda x, t: model(x, 1 - t, torch.tensor([7]))


def adm() -> tuple[Network, Any, Callable]:
    """The ADM UNet of 256x256_diffusion_uncond: ours and plain PyTorch's."""
    import torch_adm

    network, model = pj.UNet(ADM_256), torch_adm.ADM(ADM_256)
    params = random_params(model, network, "adm")
    model = model.to(memory_format=torch.channels_last)
    return network, params, model


def ddpm() -> tuple[Network, Any, Callable]:
    """The DDPM UNet of google/ddpm-celebahq-256: ours and diffusers'."""
    from diffusers import UNet2DModel

    levels = range(len(DDPM_256.block_out_channels))
    down = ["AttnDownBlock2D" if i in DDPM_256.down_attention else "" for i in levels]
    model = UNet2DModel(
        block_out_channels=DDPM_256.block_out_channels,
        layers_per_block=DDPM_256.layers_per_block,
        down_block_types=[kind or "DownBlock2D" for kind in down],
        up_block_types=[
            "AttnUpBlock2D" if kind else "UpBlock2D" for kind in reversed(down)
        ],
        attention_head_dim=None,
        downsample_padding=DDPM_256.downsample_padding,
        flip_sin_to_cos=DDPM_256.flip_sin_to_cos,
        freq_shift=DDPM_256.freq_shift,
        norm_eps=DDPM_256.norm_eps,
    )
    network = pj.DDPMUNet(DDPM_256)
    params = random_params(model, network, "ddpm")
    model = model.to(memory_format=torch.channels_last).eval()
    return network, params, lambda x, t: model(x, t).sample


def evaluations(make: Callable, code: str) -> dict[str, Callable]:
    """Functions without arguments that return NumPy arrays; of one of the CODES."""
    network, params, model = make()
    flow = isinstance(network, pj.PixelTransformer)
    t = 0.3 if flow else 300.0
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, SIDE, SIDE, 3), np.float32)
    if code == "PyTorch":
        return their_evaluations(model, x, t)
    # Its weights would take as much memory as ours.
    del model
    label = jnp.array([7]) if flow else None

    def output(params: Any, x: jax.Array) -> jax.Array:
        out = network.apply({"params": params}, x, jnp.full(1, t), label)
        return out[..., :3]

    def guided(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out, back = jax.vjp(lambda x: output(params, x), x)
        return out, back(out)[0]

    options = pj.compiler_options()
    forward = jax.jit(output, compiler_options=options)
    guided = jax.jit(guided, compiler_options=options)
    params = jax.device_put(params)
    return {
        "forward": lambda: [np.asarray(forward(params, x))],
        "guided": lambda: [np.asarray(a) for a in guided(params, x)],
    }


def their_evaluations(model: Callable, x: np.ndarray, t: float) -> dict[str, Callable]:
    their_x = torch.tensor(x.transpose(0, 3, 1, 2))
    for parameter in model_parameters(model):
        parameter.requires_grad_(False)

    def forward() -> list[np.ndarray]:
        with torch.no_grad():
            return as_ours(model(their_x, torch.tensor([t]))[:, :3])

    def guided() -> list[np.ndarray]:
        leaf = their_x.clone().requires_grad_()
        out = model(leaf, torch.tensor([t]))[:, :3]
        (gradient,) = torch.autograd.grad(out, leaf, out.detach())
        return as_ours(out, gradient)

    return {"forward": forward, "guided": guided}


def flops(network: Network) -> float:
    """FLOPs of a guided evaluation of ours."""
    params = parameter_shapes(network)
    flow = isinstance(network, pj.PixelTransformer)
    prior = pj.network_prior(
        network,
        params,
        "linear",
        7 if flow else None,
        predicts="x0" if flow else "eps",
        flow=flow,
    )
    return step_flops(prior, (SIDE, SIDE, 3))


MAKERS = {
    "adm": (adm, pj.UNet(ADM_256)),
    "ddpm": (ddpm, pj.DDPMUNet(DDPM_256)),
    "jit": (jit, pj.PixelTransformer(JIT_B16)),
}


def model_parameters(model: Callable) -> list[torch.nn.Parameter]:
    """The parameters of a module, or of that which a function calls."""
    cells = [] if isinstance(model, torch.nn.Module) else model.__closure__
    modules = [model, *(cell.cell_contents for cell in cells)]
    return [
        parameter
        for module in modules
        if isinstance(module, torch.nn.Module)
        for parameter in module.parameters()
    ]


def as_ours(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().permute(0, 2, 3, 1).numpy() for tensor in tensors]


def take_turn(make: Callable, code: str, rounds: int, out: Path) -> None:
    """Write results, seconds and peak memory of one code, after a round to warm up."""
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    written = {}
    for kind, run in evaluations(make, code).items():
        for i, result in enumerate(run()):
            written[f"{kind} {i}"] = result
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        written[kind] = np.array(seconds)
    written["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.savez(out, **written)


def turns(name: str, count: int, rounds: int, folder: Path) -> dict[str, list[Any]]:
    """What the codes wrote, each in processes of their own, which take turns."""
    environment = os.environ | {
        "TORCHDYNAMO_DISABLE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    written: dict[str, list[Any]] = {code: [] for code in CODES}
    for _ in range(count):
        for code, results in written.items():
            out = folder / "turn.npz"
            flags = ["--rounds", str(rounds), "--code", code, "--out", str(out)]
            command = [sys.executable, __file__, name, *flags]
            subprocess.run(command, env=environment, check=True)
            with np.load(out) as file:
                results.append(dict(file))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", choices=MAKERS)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="in each turn")
    parser.add_argument("--code", choices=CODES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    make, network = MAKERS[args.network]
    if args.code:
        take_turn(make, args.code, args.rounds, args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        written = turns(args.network, args.turns, args.rounds, Path(folder))

    ours, theirs = (written[code] for code in CODES)
    for name in ("forward 0", "guided 0", "guided 1"):
        difference = np.linalg.norm(ours[0][name] - theirs[0][name])
        off = difference / np.linalg.norm(theirs[0][name])
        if not off < SAME:
            raise SystemExit(f"{name}: the codes differ by {off:.1e}")
    cores = len(os.sched_getaffinity(0))
    peaks = [max(float(turn["peak"]) for turn in code) for code in (ours, theirs)]
    print(
        f"{args.network}, {args.turns} turns of {args.rounds} rounds, {cores} cores; "
        f"{flops(network) / 1e9:.0f} GFLOP; peak {peaks[0]:.1f} and {peaks[1]:.1f} GiB"
    )
    print("| network | evaluation | pigdm_jax, s | PyTorch, s | ratio | spread |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in ("forward", "guided"):
        seconds = [
            np.concatenate([turn[kind] for turn in code]) for code in (ours, theirs)
        ]
        ratios = seconds[1] / seconds[0]
        print(
            f"| {args.network} | {kind} | {np.median(seconds[0]):.3f} "
            f"| {np.median(seconds[1]):.3f} | {np.median(ratios):.2f} "
            f"| {ratios.min():.2f} to {ratios.max():.2f} |"
        )


if __name__ == "__main__":
    main()
