"""The phases of a run: batches in, updates, checkpoints and figures out."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pigdm_jax.core.compilation import compiler_options
from pigdm_jax.networks import UNet, UNetConfig
from pigdm_jax.training.checkpoints import Checkpoints
from pigdm_jax.training.condition import pseudoinverses
from pigdm_jax.training.config import Phase, TrainConfig
from pigdm_jax.training.crops import crop_batches
from pigdm_jax.training.evaluation import held_out_loss, write_samples
from pigdm_jax.training.logs import Logs
from pigdm_jax.training.photos import Collection
from pigdm_jax.training.step import TrainState, init_state, make_optimizer, make_step
from pigdm_jax.weights.store import read_network

# Called with the steps done, the loss and crops a second, at every row of metrics.csv.
Report = Callable[[int, float, float], None]


def leads() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def initial_network(config: TrainConfig, classes: int | None) -> tuple[UNetConfig, Any]:
    """The network, and the weights to start from; None for random ones.

    Raises:
      ValueError: if the prior to start from was made in another way.
    """
    if config.init is None:
        return config.network(classes), None
    saved = read_network(config.init)
    for name, given, there in (
        ("predicts", config.predicts, saved.predicts),
        ("schedule", config.noise_schedule(), saved.schedule),
        ("classes", classes, saved.network.num_classes),
        ("condition", "pinv" if config.condition else None, saved.sees),
    ):
        if given != there:
            raise ValueError(f"--{name} must be as it was for the prior {config.init}")
    return saved.network.config, saved.params


class Run:
    """What stays the same during a run: network, devices, photos."""

    def __init__(self, config: TrainConfig, photos: Collection) -> None:
        self.config, self.photos = config, photos
        classes = None if photos.classes is None else len(photos.classes)
        self.network, self.params = initial_network(config, classes)
        config.check_network(self.network)
        dtype = config.dtype
        if dtype == "auto":
            on_cpu = jax.default_backend() == "cpu"
            dtype = "float32" if on_cpu else "bfloat16"
        self.net = UNet(self.network, dtype=jnp.dtype(dtype), remat=config.remat)
        devices = np.array(jax.devices())
        mesh = jax.sharding.Mesh(devices, "batch", axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.sharded = NamedSharding(mesh, PartitionSpec("batch"))

    def initial_state(self) -> TrainState:
        """The state before the first step."""
        make = partial(init_state, self.config, self.network)
        return jax.jit(make, out_shardings=self.replicated)(self.params)

    def phase(
        self,
        phase: Phase,
        state: TrainState,
        checkpoints: Checkpoints,
        logs: Logs,
        out: Path,
        report: Report,
        stopped: Callable[[], bool],
    ) -> TrainState:
        """Run the rest of a phase, or up to a signal."""
        config = self.config
        # The inputs and the result are placed alike.
        update = jax.jit(
            make_step(config, self.net, phase.batch),
            compiler_options=compiler_options(),
            in_shardings=(self.replicated, self.sharded),
            out_shardings=self.replicated,
            donate_argnums=0,
        )
        rate = make_optimizer(config)[1]
        began, first = time.perf_counter(), int(state.step)
        for batch in self._batches(phase, first):
            state = update(state, batch)
            step = int(state.step)
            # The first step is the compilation.
            if step == first + 1:
                began = time.perf_counter()
            seconds = time.perf_counter() - began
            speed = phase.batch * (step - first - 1) / max(seconds, 1e-9)
            figures = {}
            if step % config.sample_every == 0 or step == config.steps:
                figures["held_out_loss"] = self._evaluate(state, phase.crop, out)
            if figures or step % config.log_every == 0:
                logs.row(
                    step,
                    loss=float(state.loss),
                    grad_norm=float(state.grad_norm),
                    lr=float(rate(step)),
                    **figures,
                )
                logs.speed(step, speed)
                report(step, float(state.loss), speed)
            stop = stopped() or checkpoints.reached_preemption(step)
            if stop or step % config.save_every == 0 or step == config.steps:
                checkpoints.save(state)
            if stop:
                break
        return state

    def _evaluate(self, state: TrainState, crop: int, out: Path) -> float:
        """The held-out loss; also writes samples, if the run can draw any."""
        if leads() and not self.config.condition:
            folder = out / "samples"
            write_samples(self.config, self.net, state, self.photos, crop, folder)
        return held_out_loss(self.config, self.net, state, self.photos, crop)

    def _batches(self, phase: Phase, step: int) -> Iterator[dict[str, Any]]:
        count, process = jax.process_count(), jax.process_index()
        local = crop_batches(
            self.photos.train, phase, step, self.config.seed, process, count
        )
        for batch in local:
            if self.config.condition:
                batch["condition"] = pseudoinverses(
                    self.config.condition, batch["image"]
                )
            yield {
                name: jax.make_array_from_process_local_data(self.sharded, values)
                for name, values in batch.items()
            }
