"""Train a UNet prior further in PyTorch, on CPUs with matrix units for bfloat16 (AMX).

    pip install torch
    python benchmarks/train_torch.py packed/photos.zip --out out/torch --minutes 60
    python benchmarks/ship_prior.py out/torch photos-64 --photos packed/evaluation

`pigdm train` computes in float32 on a CPU, because XLA does not use these units. Crops,
noise and loss are those of `pigdm train`, by its own functions; the network and Muon
are PyTorch's. The learning rate falls to 0 when the time is up. --out then holds the
averaged weights as a prior, and does so every --save steps.

    grep -c amx_bf16 /proc/cpuinfo    # 0 on a CPU without them
    benchmarks/pack_photos.py ../shared/data/train packed/photos.zip --side 512
"""

import argparse
import copy
import math
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import torch
import torch_adm
from torch import nn
from torch_adm import state_of

import pigdm_jax as pj
from pigdm_jax.networks.adm.keys import to_params
from pigdm_jax.training.config import Phase, TrainConfig
from pigdm_jax.training.crops import crop_batches
from pigdm_jax.training.noise import INTERVALS, Noisy, noisy
from pigdm_jax.training.photos import load_photos
from pigdm_jax.training.start import saved_start, trained_size
from pigdm_jax.training.step import (
    INTERVAL_DECAY,
    MUON_SMALLEST,
    interval_weights,
)
from pigdm_jax.weights.store import SavedNetwork


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A kernel with a row for each output channel; shares a channels-last memory."""
    if tensor.ndim == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(len(tensor), -1)


class Optimizer:
    """Muon for kernels, AdamW for vectors and for the first and last layer."""

    def __init__(self, network: nn.Module, config: TrainConfig):
        self.network, self.clip = network, config.clip
        large, small = [], []
        for weight in network.parameters():
            by_muon = weight.ndim >= 2 and min(weight.shape[:2]) >= MUON_SMALLEST
            (large if by_muon else small).append(weight)
        # Muon takes matrices alone: these are the same memory.
        self.kernels = large
        self.matrices = [nn.Parameter(as_matrix(weight.data)) for weight in large]
        decay = config.weight_decay
        self.parts = (
            torch.optim.Muon(
                self.matrices, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(small, betas=(0.9, 0.99), weight_decay=decay),
        )

    def step(self, rate: float) -> None:
        """Update the weights by their gradients, and clear these."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = as_matrix(kernel.grad)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
        self.network.zero_grad(set_to_none=True)


def learning_rate(config: TrainConfig, step: int, spent: float) -> float:
    """Rises over the first steps; falls over the last part of the time."""
    rising = min(1.0, (step + 1) / config.warmup)
    falling = max(0.0, 1 - (1 - spent) / config.decay)
    return config.lr * rising * (1 + math.cos(math.pi * min(falling, 1.0))) / 2


def losses(network: nn.Module, batch: Noisy) -> torch.Tensor:
    """The mean squared error of each crop's predicted noise, in bfloat16."""
    x_t, target = (
        torch.from_numpy(np.array(a)).permute(0, 3, 1, 2)
        for a in (batch.x_t, batch.target)
    )
    x_t = x_t.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        eps = network(x_t, torch.from_numpy(np.array(batch.t)))
    return (eps.float() - target).square().mean((1, 2, 3))


def save(
    out: Path, network: nn.Module, saved: SavedNetwork, config: TrainConfig, step: int
) -> None:
    """Write the averaged weights as a prior, and the flags beside it."""
    complete = out / "prior.new"
    shutil.rmtree(complete, ignore_errors=True)
    tensors = ((k, v.detach().numpy()) for k, v in network.state_dict().items())
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(config.to_json())
    pj.save_prior(
        complete,
        saved.network,
        to_params(tensors, saved.network),
        saved.schedule,
        {"description": "trained by benchmarks/train_torch.py", "step": str(step)},
        saved.predicts,
        trained_size=trained_size(config, saved),
        symmetries=saved.symmetries,
    )
    shutil.rmtree(out / "prior", ignore_errors=True)
    complete.rename(out / "prior")


def train(
    photos: Path, out: Path, config: TrainConfig, minutes: float, every: int
) -> None:
    """Train for so many minutes from the prior `config.init` on."""
    saved = saved_start(config)
    network = torch_adm.ADM(saved.network.config)
    network.load_state_dict(state_of(saved.params, network))
    network = network.to(memory_format=torch.channels_last)
    average, optimizer = copy.deepcopy(network), Optimizer(network, config)
    [crop] = config.crop
    collection = load_photos(photos, crop, config.held_out, config.classes)
    phase = Phase(crop, config.batch, 0, config.steps, 0)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    add_noise = jax.jit(
        lambda batch, step: noisy(batch, config, key, step, config.batch)
    )
    interval_loss = np.ones(INTERVALS, np.float32)
    start = time.perf_counter()
    for step, batch in enumerate(crop_batches(collection.train, phase, 0, config.seed)):
        spent = (time.perf_counter() - start) / (60 * minutes)
        inputs = add_noise({k: batch[k] for k in ("image", "index")}, step)
        interval = np.array(inputs.interval)
        weights = np.array(interval_weights(interval_loss))[interval]
        loss = losses(network, inputs)
        (torch.from_numpy(weights) * loss).mean().backward()
        for i, value in zip(interval, loss.tolist(), strict=True):
            interval_loss[i] += (1 - INTERVAL_DECAY) * (value - interval_loss[i])
        optimizer.step(learning_rate(config, step, spent))
        with torch.no_grad():
            for mean, weight in zip(
                average.parameters(), network.parameters(), strict=True
            ):
                mean.lerp_(weight, 1 - config.ema)
        done = spent >= 1 or step + 1 == config.steps
        if step % config.log_every == 0 or done:
            # The mean over levels, which does not depend on those of this batch.
            print(f"{step:6d}  {interval_loss.mean():.5f}  {spent:.1%}", flush=True)
        if done or (step + 1) % every == 0:
            save(out, average, saved, config, step + 1)
        if done:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, help="a folder or a .zip file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="photos-64", help="a prior to start from")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=1_000_000, help="at most")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--decay", type=float, default=0.6, help="of the time")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=int, default=500, help="steps between priors")
    args = parser.parse_args()

    config = TrainConfig(
        steps=args.steps,
        batch=args.batch,
        crop=(args.crop,),
        init=args.init,
        spacing="quadratic",
        weighting="balanced",
        optimizer="muon",
        lr=args.lr,
        warmup=30,
        decay=args.decay,
        ema=args.ema,
        dtype="bfloat16",
        seed=args.seed,
        save_every=args.save,
    )
    train(args.photos, args.out, config, args.minutes, args.save)


if __name__ == "__main__":
    main()
