r"""Restoration in PyTorch and here: the same weights, operator, steps and batch.

    pip install torch azula
    python benchmarks/pytorch.py --prior photos-64 --side 64 --batch 8 --steps 20
    python benchmarks/pytorch.py --shared ../shared --model 256x256_diffusion_uncond \
        --side 256 --batch 1 --steps 4 --rounds 3
    python benchmarks/pytorch.py --shared ../shared --model 256x256_diffusion_uncond \
        --side 256 --batch 8 --steps 2 --rounds 2 --one-device --checkpoint
    python benchmarks/pytorch.py --plot benchmarks/results/pytorch.json

4x box super-resolution without noise. First every code restores the same measurements
from the same noise at eta = 0, and has to give the same images; then they take turns,
and the figures are medians over the rounds. On CPUs several images have a device for
each core here, as `pigdm restore` has for folders. `--shared` fills the original
configuration with the weights of the golden files. FLOPs are those that XLA counts in a
guided step with plain convolutions; the ceiling is a matrix product of 4096 x 4096 in
the same process. `--memory` then runs each code alone in a process of its own for its
peak: all that the process held on a CPU (0.6 GiB of it are the two libraries), what was
allocated on a GPU.

With `--dtype bfloat16` the plain PyTorch and ours compute in it; what public codes ship
stays in float32.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch
import torch.nn.functional as F

import pigdm_jax as pj
from pigdm_jax.devices.hosts import device_for_each_core
from pigdm_jax.devices.programs import blank_problem, compile_batch
from pigdm_jax.devices.timing import even_mesh, matrix_ceiling, step_flops
from pigdm_jax.samplers import DDIM

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden
import torch_adm

from pigdm_jax.networks.adm.keys import to_params

FACTOR = 4
# How far a pixel may be off after 20 steps, over the image's largest; rounding grows
# with the steps.
SAME = {"float32": 2e-3, "bfloat16": 0.2}
# Of these PyTorch codes the precision is a choice.
PLAIN = ("eager", "compiled")
OURS = "pigdm_jax"
THEIRS = ("PyTorch, eager", "PyTorch, compiled", "PyTorch, as shipped", "azula")


def prior_from(args: argparse.Namespace) -> pj.Prior:
    if args.shared is None:
        return pj.load_prior(args.prior, dtype=args.dtype)
    fill = golden.fill_module(args.shared)
    path = args.shared / f"golden/manifests/{args.model}.json"
    manifest = json.loads(path.read_text())
    network = pj.UNet(golden.config_of(manifest), dtype=args.dtype)
    params = to_params(fill.fill_state_dict(manifest).items(), network)
    return pj.network_prior(network, params, "linear")


class AsEps(torch.nn.Module):
    """The eps of a network that predicts eps or v; called as the network is."""

    def __init__(self, network: Callable, prior: pj.Prior, device: str):
        super().__init__()
        self.network, self.predicts = network, prior.predicts
        alpha_bar = torch.tensor(prior.schedule.alpha_bar, device=device)
        self.register_buffer("a", alpha_bar.sqrt().float())
        self.register_buffer("s", (1 - alpha_bar).sqrt().float())

    def forward(self, x: torch.Tensor, t: torch.Tensor, **others) -> torch.Tensor:
        out = self.network(x, t, **others)
        if self.predicts == "eps":
            return out
        a, s = (table[t.long()].reshape(-1, 1, 1, 1) for table in (self.a, self.s))
        return s * x + a * out


class Torch:
    """Plain PyTorch; `variant` is eager, compiled or as shipped."""

    def __init__(
        self, prior: pj.Prior, variant: str, device: str, dtype: str, checkpoint: bool
    ):
        config = prior.network.config
        with torch.device("meta"):
            model = torch_adm.ADM(config)
        state = torch_adm.state_of(prior.params, model)
        model.load_state_dict({k: v.to(device) for k, v in state.items()}, assign=True)
        self.dtype = getattr(torch, dtype if variant in PLAIN else "float32")
        model = model.to(self.dtype)
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
        self.eps = AsEps(
            lambda x, t: self.model(x.to(self.dtype), t)[:, : self.channels].float(),
            prior,
            device,
        )
        self.alpha_bar = prior.schedule.alpha_bar_at_level
        self.channels = config.image_channels

    def __call__(self, y: torch.Tensor, x: torch.Tensor, levels: list[int]):
        self.kept.clear()
        return torch_adm.restore(
            self.eps,
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

        config, schedule = prior.network.config, prior.schedule
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
        backbone.load_state_dict(torch_adm.state_of(prior.params, backbone))
        self.denoiser.backbone = AsEps(backbone, prior, device)
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


class Bench:
    """One problem, and the codes that solve it."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.prior = prior = prior_from(args)
        self.shape = (args.side, args.side, prior.network.config.image_channels)
        operator = pj.operators.super_resolution(self.shape, FACTOR, "box")
        self.operator = operator
        self.levels = [int(v) for v in prior.schedule.levels(args.steps)]
        self.keys = jax.random.split(jax.random.key(0), args.batch)
        images = (args.batch, *self.shape)
        images = jax.random.uniform(jax.random.key(1), images, minval=-1)
        self.ys = jax.vmap(operator.apply)(images)
        # The sampler's own first noise, for the others.
        noise = jax.vmap(
            lambda k: jax.random.normal(jax.random.fold_in(k, 0), self.shape)
        )(self.keys)
        self.y, self.x = (
            torch.tensor(np.asarray(a)).permute(0, 3, 1, 2).to(self.device)
            for a in (self.ys, noise)
        )

    def make(self, name: str) -> Callable[[], np.ndarray]:
        """A code, ready to restore the batch."""
        if name == OURS:
            return self.ours()
        if name == "azula":
            code = Azula(self.prior, self.device, self.args.checkpoint)
        else:
            variant = name.removeprefix("PyTorch, ")
            how = (variant, self.device, self.args.dtype, self.args.checkpoint)
            code = Torch(self.prior, *how)
        return lambda: (
            code(self.y, self.x, self.levels).permute(0, 2, 3, 1).cpu().numpy()
        )

    def ours(self) -> Callable[[], np.ndarray]:
        args, prior = self.args, self.prior
        program = compile_batch(
            prior.rematerialised() if args.checkpoint else prior,
            blank_problem(self.operator),
            args.batch,
            DDIM(steps=args.steps, eta=0.0),
            mesh=even_mesh(args.batch),
        )
        needed = program.device_bytes / 2**30
        print(f"{OURS}: {needed:.2f} GiB on each device, as XLA tells")
        return lambda: np.asarray(program(None, self.ys, self.keys))


def compare(bench: Bench) -> list[dict]:
    args = bench.args
    codes, compiling = {}, {}
    expected = None
    theirs = args.codes or THEIRS
    if not bench.prior.network.config.group_norm:
        print("azula has no network without group norms, so it is left out")
        theirs = [name for name in theirs if name != "azula"]
    for name in (OURS, *theirs):
        start = time.perf_counter()
        codes[name] = bench.make(name)
        if name == OURS:
            compiling[name] = time.perf_counter() - start
        start = time.perf_counter()
        image = codes[name]()
        # PyTorch compiles in its first run.
        compiling.setdefault(name, time.perf_counter() - start)
        expected = image if expected is None else expected
        off = np.abs(image - expected).max() / np.abs(expected).max()
        if not off <= SAME[args.dtype] * max(1, args.steps / 20):
            raise SystemExit(f"{name} gives another image: {off:.1e} of its largest")
        print(f"{name}: the same image to {off:.1e} of its largest value", flush=True)

    seconds = {name: [] for name in codes}
    for _ in range(args.rounds):
        for name, run in codes.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    flops = args.batch * args.steps * step_flops(bench.prior, bench.shape)
    top = matrix_ceiling(args.dtype)
    medians = {name: float(np.median(s)) for name, s in seconds.items()}
    best = min(median for name, median in medians.items() if name != OURS)
    setting = {
        "weights": args.prior if args.shared is None else args.model,
        "batch": args.batch,
        "side": args.side,
        "steps": args.steps,
        "dtype": args.dtype,
        "checkpoint": args.checkpoint,
    }
    print("| code | s an image | ms a step and image | ratio | first, s | FLOP/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for name, median in medians.items():
        first = max(0.0, compiling[name] - (median if name != OURS else 0))
        rows.append(
            {
                "code": name,
                **setting,
                "machine": machine(),
                "seconds": median,
                "spread": [min(seconds[name]), max(seconds[name])],
                "ratio": best / median,
                "compile_seconds": first,
                "flops_per_second": flops / median,
                "ceiling": top,
            }
        )
        each = median / args.batch
        print(
            f"| {name} | {each:.2f} | {each / args.steps * 1e3:.1f} "
            f"| {best / median:.2f} | {first:.1f} | {flops / median / 1e9:.0f} G, "
            f"{flops / median / top:.0%} of {top / 1e9:.0f} G |",
            flush=True,
        )
    return rows


def peak(bench: Bench, name: str) -> float:
    """GiB that this process, or its GPU, held at most while one code restored."""
    run = bench.make(name)
    if name != OURS:
        bench.prior = None
    run()
    if bench.device == "cpu":
        # getrusage's maximum would begin with the parent's.
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20
    if name == OURS:
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**30
    return torch.cuda.max_memory_allocated() / 2**30


def peak_alone(name: str) -> float:
    """The same of a process of its own with these arguments; two steps suffice."""
    command = [sys.executable, *sys.argv, "--steps", "2", "--alone", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def machine() -> str:
    """The processor's name, and how many of its cores there are."""
    kind = jax.devices()[0].device_kind
    if kind == "cpu":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
        wide = any("avx512f" in line for line in lines)
        kind = f"{names[0]}, {'AVX-512' if wide else 'AVX2'}"
    return f"{kind}, {len(os.sched_getaffinity(0))} cores"


def keep(out: Path, rows: list[dict]) -> None:
    """Add the rows to a file, in the place of earlier ones of the same setting."""

    def setting(row: dict) -> list:
        names = ("weights", "batch", "side", "steps", "dtype", "checkpoint")
        return [row[name] for name in names]

    before = json.loads(out.read_text()) if out.exists() else []
    now = setting(rows[0])
    rows = [row for row in before if setting(row) != now] + rows
    out.write_text(json.dumps(rows, indent=1) + "\n")


def plot(results: Path) -> None:
    """Each code's time for a step and image, over ours, by setting; a .png beside."""
    import matplotlib.pyplot as plt

    groups = {}
    for row in json.loads(results.read_text()):
        how = ", recomputing" if row["checkpoint"] else ""
        title = (
            f"{row['weights']}, {row['dtype']}\n{row['side']} x {row['side']}, "
            f"batch {row['batch']}, {row['steps']} steps{how}"
        )
        groups.setdefault(title, []).append(row)
    figure, axes = plt.subplots(
        1, len(groups), figsize=(3.2 * len(groups), 3), layout="constrained"
    )
    for axis, (title, rows) in zip(np.ravel(axes), groups.items(), strict=True):
        names = [row["code"].removeprefix("PyTorch, ") for row in rows]
        times = [row["seconds"] / row["steps"] / row["batch"] for row in rows]
        colours = ["tab:orange" if name == OURS else "tab:gray" for name in names]
        bars = axis.barh(names, times, color=colours)
        axis.bar_label(bars, [f" x {t / times[0]:.2f}" for t in times])
        axis.margins(x=0.45)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("s a step and image")
    figure.savefig(results.with_suffix(".png"), dpi=110)


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
    parser.add_argument("--codes", nargs="+", choices=THEIRS, help="all if not given")
    parser.add_argument("--dtype", choices=SAME, default="float32")
    parser.add_argument("--checkpoint", action="store_true", help="to save memory")
    parser.add_argument("--memory", action="store_true", help="each code's peak too")
    parser.add_argument("--out", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--plot", type=Path, help="draw such a file, and no more")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.plot:
        return plot(args.plot)
    if args.batch > 1 and not args.one_device:
        device_for_each_core()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    bench = Bench(args)
    if args.alone:
        return print(peak(bench, args.alone))
    print(f"{machine()}, jax {jax.__version__}, torch {torch.__version__}")
    print(f"batch {args.batch}, {args.side} x {args.side}, {args.steps} steps")
    rows = compare(bench)
    if args.memory:
        # Their programs and weights are not to stand beside a process's own.
        del bench
        for row in rows:
            row["peak_gib"] = peak_alone(row["code"])
            print(f"{row['code']}: {row['peak_gib']:.2f} GiB", flush=True)
    if args.out:
        keep(args.out, rows)


if __name__ == "__main__":
    main()
