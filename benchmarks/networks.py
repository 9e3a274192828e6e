r"""One evaluation of each architecture at 256 x 256, here and in PyTorch, on CPUs.

    pip install torch diffusers einops gdown pyyaml && pip install --no-deps azula
    TORCHDYNAMO_DISABLE=1 python benchmarks/networks.py jit --rounds 15
    python benchmarks/networks.py adm --rounds 3
    python benchmarks/networks.py ddpm --rounds 5

Random weights, float32, one image: the output alone ("forward"), and with a
vector-Jacobian product with respect to the image ("guided"), which is nearly all of a
guided step. Both codes take turns in one process, after they have given the same
figures. PyTorch's is plain, eager code: that of azula for JiT, whose blocks are not
compiled then, `torch_adm.py` for the ADM UNet, and diffusers for the DDPM's.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from configurations import ADM_256, DDPM_256, JIT_B16

import pigdm_jax as pj
from pigdm_jax.devices.timing import step_flops
from pigdm_jax.networks import ARCHITECTURES, Network

SAME = 1e-4  # relative L2 distance of outputs and gradients
SIDE = 256


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


def codes(make: Callable) -> tuple[dict[str, Callable], pj.Prior]:
    """Functions without arguments that return NumPy arrays, and our prior."""
    network, params, model = make()
    flow = isinstance(network, pj.PixelTransformer)
    label = jnp.array([7]) if flow else None
    t = 0.3 if flow else 300.0
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, SIDE, SIDE, 3), np.float32)

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
    their_x = torch.tensor(x.transpose(0, 3, 1, 2))
    for parameter in model_parameters(model):
        parameter.requires_grad_(False)

    def their_forward() -> list[np.ndarray]:
        with torch.no_grad():
            return as_ours(model(their_x, torch.tensor([t]))[:, :3])

    def their_guided() -> list[np.ndarray]:
        leaf = their_x.clone().requires_grad_()
        out = model(leaf, torch.tensor([t]))[:, :3]
        (gradient,) = torch.autograd.grad(out, leaf, out.detach())
        return as_ours(out, gradient)

    predicts = "x0" if flow else "eps"
    prior = pj.network_prior(
        network, params, "linear", 7 if flow else None, predicts=predicts, flow=flow
    )
    return {
        "pigdm_jax, forward": lambda: [np.asarray(forward(params, x))],
        "PyTorch, forward": their_forward,
        "pigdm_jax, guided": lambda: [np.asarray(a) for a in guided(params, x)],
        "PyTorch, guided": their_guided,
    }, prior


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", choices=("adm", "ddpm", "jit"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    runs, prior = codes({"adm": adm, "ddpm": ddpm, "jit": jit}[args.network])

    for kind in ("forward", "guided"):
        pair = (runs[f"{code}, {kind}"]() for code in ("pigdm_jax", "PyTorch"))
        for ours, theirs in zip(*pair, strict=True):
            off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            if not off < SAME:
                raise SystemExit(f"{kind}: the codes differ by {off:.1e}")
    seconds = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    flops = step_flops(prior, (SIDE, SIDE, 3)) / 1e9
    cores = len(os.sched_getaffinity(0))
    print(f"{args.network}, {args.rounds} rounds, {cores} cores; {flops:.0f} GFLOP")
    print("| network | evaluation | pigdm_jax, s | PyTorch, s | ratio | spread |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in ("forward", "guided"):
        ours, theirs = (
            np.array(seconds[f"{code}, {kind}"]) for code in ("pigdm_jax", "PyTorch")
        )
        ratios = theirs / ours
        print(
            f"| {args.network} | {kind} | {np.median(ours):.3f} "
            f"| {np.median(theirs):.3f} | {np.median(ratios):.2f} "
            f"| {ratios.min():.2f} to {ratios.max():.2f} |"
        )


if __name__ == "__main__":
    main()
