r"""Restoration in PyTorch and here: the same weights, operator, steps and batch.

    pip install torch azula
    python benchmarks/pytorch.py --prior photos-64 --side 64 --batch 8 --steps 20
    python benchmarks/pytorch.py --shared ../shared --model 256x256_diffusion_uncond \
        --side 256 --batch 1 --steps 1 --rounds 3

4x box super-resolution without noise. First every code restores the same measurements
from the same noise at eta = 0, and has to give the same images; then they take turns,
and the figures are medians over the rounds. On CPUs several images have a device for
each core here, as `pigdm restore` has for folders. `--shared` fills the original
configuration with the weights of the golden files. FLOPs are those that XLA counts in a
guided step with plain convolutions; the ceiling is a matrix product of 4096 x 4096 in
the same process.
"""

import argparse
import functools
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch
import torch.nn.functional as F

import pigdm_jax as pj
from pigdm_jax.bench import matrix_ceiling, step_flops
from pigdm_jax.hosts import device_for_each_core
from pigdm_jax.parallel import compile_batch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden
import torch_adm

from pigdm_convert.keymap import to_params, torch_key

FACTOR = 4
# A billionth of the image's size is not float32's; this is.
SAME = 2e-3


def weights_of(params: dict) -> dict[str, torch.Tensor]:
    """A UNet's parameters by PyTorch's names, in its layouts."""
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = tuple(k.key for k in path)
        array = np.asarray(leaf)
        if names[-1] == "kernel":
            array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
        state[torch_key(names)] = torch.tensor(array)
    return state


def prior_from(args: argparse.Namespace) -> pj.Prior:
    if args.shared is None:
        return pj.load_prior(args.prior)
    fill = golden.fill_module(args.shared)
    path = args.shared / f"golden/manifests/{args.model}.json"
    manifest = json.loads(path.read_text())
    params = to_params(fill.fill_state_dict(manifest).items())
    return pj.unet_prior(golden.config_of(manifest), params, "linear")


class Torch:
    """Plain PyTorch; `variant` is eager, compiled or as shipped."""

    def __init__(self, prior: pj.Prior, variant: str, device: str, checkpoint: bool):
        config = prior.net.config
        with torch.device("meta"):
            model = torch_adm.ADM(config)
        state = {k: v.to(device) for k, v in weights_of(prior.params).items()}
        for key, value in model.state_dict().items():
            # The 1 x 1 convolutions over tokens have one axis more.
            state[key] = state[key].reshape(value.shape)
        model.load_state_dict(state, assign=True)
        model.requires_grad_(variant == "as shipped")
        if variant != "as shipped":
            model = model.to(memory_format=torch.channels_last)
        save = torch_adm.frugal if checkpoint else None
        self.kept = []
        if variant == "as shipped":
            save, self.on_step = torch_adm.wasteful, lambda x: self.kept.append(x.cpu())
        else:
            self.on_step = lambda x: None
        self.model = functools.partial(model, save=save)
        if variant == "compiled":
            self.model = torch.compile(self.model)
        self.alpha_bar = prior.schedule.alpha_bar_at_level
        self.channels = config.image_channels

    def __call__(self, y: torch.Tensor, x: torch.Tensor, levels: list[int]):
        self.kept.clear()
        return torch_adm.restore(
            lambda x, t: self.model(x, t)[:, : self.channels],
            lambda x: F.avg_pool2d(x, FACTOR),
            lambda y: F.interpolate(y, scale_factor=float(FACTOR), mode="nearest"),
            y,
            x,
            self.alpha_bar,
            levels,
            0.0,
            self.on_step,
        )


class Azula:
    """The PGDM sampler and the ADM plugin of azula."""

    def __init__(self, prior: pj.Prior, device: str, checkpoint: bool):
        from azula.plugins.adm import make_model

        config, schedule = prior.net.config, prior.schedule
        names = ("num_res_blocks", "num_heads", "num_head_channels", "resblock_updown")
        names += ("use_scale_shift_norm", "use_new_attention_order", "conv_resample")
        size = 2 ** (len(config.channel_mult) + 3)
        self.denoiser = make_model(
            clip_mean=False,
            learn_var=config.out_channels != config.image_channels,
            image_size=size,
            attention_resolutions=[size // f for f in config.attention_resolutions],
            channel_mult=config.channel_mult,
            num_channels=config.model_channels,
            use_checkpoint=checkpoint,
            **{name: getattr(config, name) for name in names},
        ).to(device)
        backbone = self.denoiser.backbone
        state = weights_of(prior.params)
        for key, value in backbone.state_dict().items():
            state[key] = state[key].reshape(value.shape)
        backbone.load_state_dict(state)
        # It looks the network's step up by sigma; rounding must not make it the next.
        sigmas = torch.tensor(np.sqrt(1 - schedule.alpha_bar), device=device)
        middles = torch.cat(
            [(sigmas[1:] + sigmas[:-1]) / 2, torch.ones_like(sigmas[:1])]
        )
        self.denoiser.sigmas = middles.float()
        self.denoiser.eval().requires_grad_(False)
        self.alpha_bar = torch.tensor(
            schedule.alpha_bar_at_level, dtype=torch.float64, device=device
        )

    def __call__(self, y: torch.Tensor, x: torch.Tensor, levels: list[int]):
        from azula.guidance import PGDMSampler

        steps, alpha_bar = len(levels) - 1, self.alpha_bar

        def level(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            a = alpha_bar[
                torch.tensor(levels, device=t.device)[(t * steps).round().long()]
            ]
            return a.sqrt().float(), (1 - a).sqrt().float()

        self.denoiser.schedule = level
        sampler = PGDMSampler(
            self.denoiser,
            y,
            lambda x: F.avg_pool2d(x, FACTOR),
            lambda y: F.interpolate(y, scale_factor=float(FACTOR), mode="nearest"),
            eta=0.0,
            steps=steps,
            silent=True,
            device=x.device,
        )
        return sampler(x)


def compare(args: argparse.Namespace, prior: pj.Prior, batch: int) -> list[dict]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = (args.side, args.side, prior.net.config.image_channels)
    operator = pj.operators.super_resolution(shape, FACTOR, "box")
    levels = [int(v) for v in prior.schedule.levels(args.steps, None, "uniform")]
    keys = jax.random.split(jax.random.key(0), batch)
    images = jax.random.uniform(jax.random.key(1), (batch, *shape), minval=-1)
    ys = jax.vmap(operator.apply)(images)
    # The sampler's own first noise, for the others.
    noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 0), shape))(keys)
    y, x = (
        torch.tensor(np.asarray(a)).permute(0, 3, 1, 2).to(device) for a in (ys, noise)
    )

    devices = jax.local_devices()
    devices = devices[: max(n for n in range(1, len(devices) + 1) if batch % n == 0)]
    start = time.perf_counter()
    program = compile_batch(
        prior,
        operator,
        batch,
        mesh=pj.make_mesh(devices=devices),
        steps=args.steps,
        eta=0.0,
    )
    compiling = {"pigdm_jax": time.perf_counter() - start}

    def ours() -> np.ndarray:
        return np.asarray(program(None, ys, keys))

    codes: dict[str, Callable[[], np.ndarray]] = {"pigdm_jax": ours}
    made = {
        f"PyTorch, {name}": functools.partial(Torch, prior, name, device)
        for name in ("eager", "compiled", "as shipped")
    } | {"azula": functools.partial(Azula, prior, device)}
    for name in args.codes or made:
        code = made[name](checkpoint=args.checkpoint)

        def run(code: Callable = code) -> np.ndarray:
            return code(y, x, levels).permute(0, 2, 3, 1).cpu().numpy()

        codes[name] = run
    expected = None
    for name, run in codes.items():
        start = time.perf_counter()
        image = run()
        first = time.perf_counter() - start
        compiling.setdefault(name, first)
        expected = image if expected is None else expected
        off = np.abs(image - expected).max() / np.abs(expected).max()
        if off > SAME:
            raise SystemExit(f"{name} gives another image: {off:.1e} of its largest")
        print(f"{name}: the same image to {off:.1e} of its largest value", flush=True)

    seconds = {name: [] for name in codes}
    for _ in range(args.rounds):
        for name, run in codes.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    flops = batch * args.steps * step_flops(prior, shape)
    top = matrix_ceiling()
    best = min(np.median(s) for name, s in seconds.items() if name != "pigdm_jax")
    rows = []
    print(
        "| code | s | ms a step and image | ratio to best PyTorch | first, s | FLOP/s |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, taken in seconds.items():
        median = float(np.median(taken))
        step = median / args.steps / batch * 1e3
        first = compiling[name] - (median if name != "pigdm_jax" else 0)
        rows.append(
            {
                "code": name,
                "batch": batch,
                "side": args.side,
                "steps": args.steps,
                "seconds": median,
                "ratio": best / median,
                "compile_seconds": max(0.0, first),
                "flops_per_second": flops / median,
                "ceiling": top,
            }
        )
        print(
            f"| {name} | {median:.2f} | {step:.0f} | {best / median:.2f} "
            f"| {max(0.0, first):.1f} | {flops / median / 1e9:.0f} G, "
            f"{flops / median / top:.0%} of {top / 1e9:.0f} G |",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="photos-64")
    parser.add_argument("--shared", type=Path, help="with --model: a golden one")
    parser.add_argument("--model", default="256x256_diffusion_uncond")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--one-device", action="store_true")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--codes", nargs="+", help="of PyTorch's; all if not given")
    parser.add_argument("--checkpoint", action="store_true", help="to save memory")
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    args = parser.parse_args()

    if args.batch > 1 and not args.one_device:
        device_for_each_core()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    prior = prior_from(args)
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, {cores} cores")
    print(f"batch {args.batch}, {args.side} x {args.side}, {args.steps} steps")
    rows = compare(args, prior, args.batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of all together {peak:.1f} GiB")
    if args.out:
        before = json.loads(args.out.read_text()) if args.out.exists() else []
        args.out.write_text(json.dumps(before + rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
