"""The phases of a run: the loop over batches, with logs and checkpoints."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pigdm_jax.core.compilation import compiler_options, program_bytes
from pigdm_jax.devices.memory import device_memory
from pigdm_jax.training.checkpoints import Checkpoints
from pigdm_jax.training.condition import pseudoinverses
from pigdm_jax.training.config import Phase, TrainConfig
from pigdm_jax.training.crops import crop_batches
from pigdm_jax.training.evaluation import held_out_loss, write_samples
from pigdm_jax.training.logs import Logs
from pigdm_jax.training.noise import Batch
from pigdm_jax.training.photos import Collection
from pigdm_jax.training.start import initial_network
from pigdm_jax.training.step import TrainState, init_state, make_optimizer, make_step
from pigdm_jax.weights.store import SavedNetwork

# Called with step, loss and crops per second whenever metrics.csv gets a row.
Report = Callable[[int, float, float], None]
Update = Callable[[TrainState, Batch], TrainState]


def leads() -> bool:
    """Whether this process writes the files that are written once."""
    return jax.process_index() == 0


class Run:
    """The constants of a run: flags, photos, network and devices."""

    def __init__(
        self, config: TrainConfig, photos: Collection, saved: SavedNetwork | None
    ) -> None:
        self.config, self.photos, self.saved = config, photos, saved
        classes = None if photos.classes is None else len(photos.classes)
        self.network, self.params = initial_network(config, saved, classes)
        dtype = config.dtype
        if dtype == "auto":
            on_cpu = jax.default_backend() == "cpu"
            dtype = "float32" if on_cpu else "bfloat16"
        self.net = self.network.clone(dtype=jnp.dtype(dtype), remat=config.remat)
        devices = np.array(jax.devices())
        mesh = jax.sharding.Mesh(devices, "batch", axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.sharded = NamedSharding(mesh, PartitionSpec("batch"))
        make = partial(init_state, config, self.network)
        self._init = jax.jit(make, out_shardings=self.replicated)

    def initial_state(self) -> TrainState:
        """The state before the first step."""
        state: TrainState = self._init(self.params)
        return state

    def updates(self, done: int) -> dict[Phase, Update]:
        """The update of each phase that remains, compiled.

        Args:
          done: number of steps done.

        Raises:
          ValueError: if one needs more memory than a device has.
        """
        state = self._init.eval_shape(self.params)
        return {
            phase: self._update(phase, state)
            for phase in self.config.phases()
            if done < phase.last
        }

    def phase(
        self,
        phase: Phase,
        update: Update,
        state: TrainState,
        checkpoints: Checkpoints,
        logs: Logs,
        out: Path,
        report: Report,
        stopped: Callable[[], bool],
    ) -> TrainState:
        """Run a phase from a state to its end, or until a signal or preemption.

        Args:
          phase: the phase.
          update: that of the phase.
          state: the state before the first step to do.
          checkpoints: where states are saved.
          logs: where figures are written.
          out: the run's folder.
          report: called when metrics.csv gets a row.
          stopped: whether a signal has arrived.

        Returns:
          The state after the last step done; it is saved if the phase was stopped.
        """
        config = self.config
        rate = make_optimizer(config)[1]
        began, first = time.perf_counter(), int(state.step)
        for batch in self._batches(phase, first):
            state = update(state, batch)
            step = int(state.step)
            # The first step waits for the first batch, so it is not timed.
            if step == first + 1:
                began = time.perf_counter()
            seconds = time.perf_counter() - began
            speed = phase.batch * (step - first - 1) / max(seconds, 1e-9)
            figures = {}
            if step % config.sample_every == 0 or step == config.steps:
                figures["held_out_loss"] = self._evaluate(state, phase.crop, out)
            if figures or step % config.log_every == 0:
                figures["loss"] = float(state.loss)
                figures["grad_norm"] = float(state.grad_norm)
                logs.row(step, lr=float(rate(step)), **figures)
                logs.speed(step, speed)
                report(step, figures["loss"], speed)
            stop = stopped() or checkpoints.reached_preemption(step)
            if stop or step % config.save_every == 0 or step == config.steps:
                checkpoints.save(state)
            if stop:
                break
        return state

    def _update(self, phase: Phase, state: TrainState) -> Update:
        """The update for batches of a phase, compiled for a state like this one.

        Raises:
          ValueError: if it needs more memory than a device has.
        """
        shape = phase.batch, phase.crop, phase.crop, 3
        image = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=self.sharded)
        number = jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=self.sharded)
        batch = {"image": image, "label": number, "index": number}
        if self.config.condition:
            batch["condition"] = image
        update = jax.jit(
            make_step(self.config, self.net, phase.batch),
            compiler_options=compiler_options(),
            in_shardings=(self.replicated, self.sharded),
            out_shardings=self.replicated,
            donate_argnums=0,
        )
        compiled = update.lower(state, batch).compile()
        needed = program_bytes(compiled)
        memory = device_memory(jax.local_device_count())
        if needed > memory:
            remat = "" if self.config.remat else ", or add --remat"
            raise ValueError(
                f"a batch of {phase.batch} crops of {phase.crop} pixels needs "
                f"{needed / 1e9:.1f} GB on each device, which has {memory / 1e9:.1f} "
                f"GB; choose a smaller --batch or --crop{remat}"
            )
        return compiled

    def _evaluate(self, state: TrainState, crop: int, out: Path) -> float:
        """The held-out loss; also writes samples of priors without a condition."""
        if leads() and not self.config.condition:
            folder = out / "samples"
            write_samples(self.config, self.net, state, self.photos, crop, folder)
        return held_out_loss(self.config, self.net, state, self.photos, crop)

    def _batches(self, phase: Phase, step: int) -> Iterator[Batch]:
        """The batches of a phase from a step on, sharded over all devices."""
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
