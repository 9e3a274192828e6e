"""The run: batches in, checkpoints, figures, pictures and a prior out."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pigdm_jax.core.compilation import compiler_options
from pigdm_jax.networks import UNet, UNetConfig
from pigdm_jax.operators.inpainting import inpaint
from pigdm_jax.pictures.figures import side_by_side
from pigdm_jax.pictures.files import read_parameter, write_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.network import NetworkPrior, network_prior
from pigdm_jax.problem import Problem
from pigdm_jax.restoration import restore
from pigdm_jax.samplers import DDIM
from pigdm_jax.training.checkpoints import Checkpoints
from pigdm_jax.training.config import Phase, TrainConfig
from pigdm_jax.training.crops import batches, crop_of
from pigdm_jax.training.logs import Logs
from pigdm_jax.training.photos import Collection, load_photos
from pigdm_jax.training.step import (
    TrainState,
    denoising_loss,
    init_state,
    make_optimizer,
    make_step,
    noisy,
)
from pigdm_jax.weights.store import read_network, save_prior

EVALUATION_CROPS, SAMPLES, SAMPLE_STEPS = 64, 4, 50

# Called with steps done, loss and crops a second, at every row of metrics.csv.
Report = Callable[[int, float, float], None]


def train(
    source: Path,
    out: Path,
    config: TrainConfig,
    report: Report = lambda step, loss, crops_per_second: None,
) -> Path | None:
    """Train a prior on photos, or go on with a run that was cut off.

    The same command goes on where the last checkpoint is; the result is that of a run
    that was never cut off, bit for bit on the same devices.

    Args:
      source: a folder of photos, with its sub-folders, or a .zip file of them.
      out: the run's folder: config.json, metrics.csv, checkpoints/, samples/,
        tensorboard/ and in the end prior/.
      config: the rest.
      report: called at every row of metrics.csv with the steps done, the loss and the
        crops a second, for a progress bar.

    Returns:
      The prior's folder, for `load_prior`; None if a signal ended the run early.

    Raises:
      ValueError: if flags, photos and folder do not go together.
    """
    config.check()
    out = Path(out)
    if (out / "prior").exists():
        raise ValueError(f"{out} is finished: its prior is {out / 'prior'}")
    if (out / "config.json").exists():
        config.check_same(out / "config.json")
    _check_devices(config)
    photos = load_photos(source, max(config.crop), config.held_out, config.classes)
    run = _Run(config, photos)
    out.mkdir(parents=True, exist_ok=True)
    if _leads():
        (out / "config.json").write_text(config.to_json())

    with (
        Checkpoints(out / "checkpoints") as checkpoints,
        _stop_signal() as stopped,
    ):
        state = checkpoints.restore(run.initial_state())
        done = int(state.step)
        with Logs(out, done, writes=_leads()) as logs:
            for phase in config.phases():
                if done < phase.last:
                    state = run.phase(
                        phase, state, checkpoints, logs, out, report, stopped
                    )
                    done = int(state.step)
                if stopped():
                    return None
    return _write_prior(out, run, state)


def averaged_prior(out: Path) -> tuple[NetworkPrior, int]:
    """The averaged weights at a run's latest checkpoint, while it goes on or after.

    Args:
      out: the run's folder.

    Returns:
      The prior, and the step that it is from.

    Raises:
      ValueError: if the run has no checkpoint yet, or trains classes or a condition.
    """
    config = TrainConfig.from_json((Path(out) / "config.json").read_text())
    if config.classes or config.condition:
        raise ValueError(f"{out} trains a network with an input besides the image")
    network, params = _beginning(config, None)
    shapes = jax.eval_shape(partial(init_state, config, network), params)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(Path(out) / "checkpoints") as checkpoints:
        state = checkpoints.restore(
            jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device),
                shapes,
            )
        )
    if isinstance(state.step, jax.ShapeDtypeStruct):
        raise ValueError(f"{out} has no checkpoint yet")
    prior = network_prior(
        UNet(network),
        state.ema,
        config.noise_schedule(),
        predicts=config.predicts,
        trained_size=max(config.crop),
    )
    return prior, int(state.step)


def _leads() -> bool:
    """Whether this is the one process that writes what is written once."""
    return jax.process_index() == 0


def _check_devices(config: TrainConfig) -> None:
    for phase in config.phases():
        if phase.batch % jax.device_count():
            raise ValueError(
                f"a batch of {phase.batch} crops of {phase.crop} pixels cannot be "
                f"spread over {jax.device_count()} devices; choose another --batch"
            )


class _Run:
    """What stays the same over a run: network, devices, photos."""

    def __init__(self, config: TrainConfig, photos: Collection) -> None:
        self.config, self.photos = config, photos
        classes = None if photos.classes is None else len(photos.classes)
        self.network, self.params = _beginning(config, classes)
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
        # Placement is as it was given, for inputs and for the result.
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
                figures["held_out_loss"] = self.evaluate(state, phase.crop)
                self.draw_samples(state, phase.crop, out / "samples")
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
            stop = stopped()
            if stop or step % config.save_every == 0 or step == config.steps:
                checkpoints.save(state)
            if stop:
                break
        return state

    def _batches(self, phase: Phase, step: int) -> Iterator[dict[str, Any]]:
        count, process = jax.process_count(), jax.process_index()
        local = batches(
            self.photos.train, phase, step, self.config.seed, process, count
        )
        for batch in local:
            if self.config.condition:
                batch["condition"] = self._condition(batch["image"])
            yield {
                name: jax.make_array_from_process_local_data(self.sharded, values)
                for name, values in batch.items()
            }

    def _condition(self, images: Any) -> Any:
        """What the task leaves of the images, as the network sees it."""
        task = Task.parse(self.config.condition)
        operator = task.operator(images.shape[1:], read_parameter)
        return np.asarray(_pseudoinverses(operator, images))

    def evaluate(self, state: TrainState, crop: int) -> float:
        """The loss of the averaged weights on held-out crops, the same each time."""
        records = [
            crop_of(
                self.photos.held_out[i % len(self.photos.held_out)],
                crop,
                np.random.default_rng(i),
            )
            for i in range(EVALUATION_CROPS)
        ]
        batch = {
            name: np.stack([record[name] for record in records])
            for name in ("image", "label")
        } | {"index": np.arange(EVALUATION_CROPS, dtype=np.int32)}
        if self.config.condition:
            batch["condition"] = self._condition(batch["image"])
        return float(_evaluate(self.net, self.config, state.ema, batch))

    def draw_samples(self, state: TrainState, crop: int, folder: Path) -> None:
        """Pictures that the averaged weights make of noise."""
        if not _leads() or self.config.condition:
            return
        images = {}
        shape = (crop, crop, 3)
        nothing = inpaint(shape, np.zeros(shape[:2], np.float32))
        for i in range(SAMPLES):
            label = i % self.network.num_classes if self.network.num_classes else None
            prior = network_prior(
                UNet(self.network),
                state.ema,
                self.config.schedule,
                label=label,
                predicts=self.config.predicts,
            )
            problem = Problem(nothing, jnp.zeros(shape))
            image = restore(prior, problem, jax.random.key(i), DDIM(SAMPLE_STEPS))
            name = f"{i + 1}" if label is None else self.photos.classes[label]
            images[f"{name} "] = np.asarray(jnp.clip(image, -1, 1))
        folder.mkdir(exist_ok=True)
        write_picture(folder / f"{int(state.step):07d}.png", side_by_side(images))


@jax.jit
def _pseudoinverses(operator: Any, images: Any) -> Any:
    return jax.vmap(lambda x: operator.pinv(operator.apply(x)))(images)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(net: UNet, config: TrainConfig, params: Any, batch: Any) -> Any:
    inputs = noisy(batch, config, jax.random.key(0), jnp.int32(0), EVALUATION_CROPS)
    return jnp.mean(denoising_loss(params, net, batch, inputs))


def _beginning(config: TrainConfig, classes: int | None) -> tuple[UNetConfig, Any]:
    """The network, and the weights to begin with if the run does not draw them."""
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


def _write_prior(out: Path, run: _Run, state: TrainState) -> Path:
    config, photos = run.config, run.photos
    source = {
        "description": f"trained by `pigdm train` on {len(photos.train)} photos",
        "training": config.to_json(),
    }
    if photos.classes is not None:
        source["classes"] = ", ".join(photos.classes)
    params = jax.tree.map(np.asarray, state.ema)
    if _leads():
        save_prior(
            out / "prior",
            UNet(run.network),
            params,
            config.schedule,
            source,
            config.predicts,
            sees="pinv" if config.condition else None,
            trained_size=max(config.crop),
        )
    return out / "prior"


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGTERM or Ctrl-C has come; a second Ctrl-C is as usual."""
    come = []

    def note(number: int, frame: object) -> None:
        come.append(number)
        signal.signal(signal.SIGINT, previous[signal.SIGINT])

    signals = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: bool(come)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
