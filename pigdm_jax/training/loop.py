"""Training a prior: a whole run, from photos to a saved prior."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pigdm_jax.core.locks import locked
from pigdm_jax.priors.network import NetworkPrior, network_prior
from pigdm_jax.training.checkpoints import Checkpoints, latest_step
from pigdm_jax.training.config import Phase, TrainConfig
from pigdm_jax.training.crops import CROP_SYMMETRIES
from pigdm_jax.training.folder import CHECKPOINTS, LOCKS, begin, check_folder
from pigdm_jax.training.logs import Logs
from pigdm_jax.training.phases import Report, Run, Update, leads
from pigdm_jax.training.photos import load_photos
from pigdm_jax.training.start import initial_network, saved_start, trained_size
from pigdm_jax.training.step import TrainState, init_state
from pigdm_jax.training.stopping import stop_signals
from pigdm_jax.weights.store import SavedNetwork, save_prior


def train(
    source: Path,
    out: Path,
    config: TrainConfig,
    report: Report = lambda step, loss, crops_per_second: None,
) -> Path | None:
    """Train a prior on photos, or continue a run that was interrupted.

    A run continues from its last checkpoint. The result equals that of an uninterrupted
    run, bit for bit on the same devices.

    Args:
      source: a folder of photos, with its sub-folders, or a .zip file of them.
      out: the run's folder, with config.json, metrics.csv, checkpoints/, samples/,
        tensorboard/ and at the end prior/.
      config: all other flags.
      report: called with step, loss and crops per second whenever metrics.csv gets a
        row, for a progress bar.

    Returns:
      The prior's folder, for `load_prior`; None if a signal or a preemption stopped the
      run early.

    Raises:
      ValueError: if a flag is out of range, or does not fit the photos, the devices or
        the run in the folder, or a batch does not fit in memory.
    """
    config.check()
    config, out = config.with_sizes(), Path(out)
    check_folder(Path(source), out, config)
    _check_devices(config)
    saved = saved_start(config)
    photos = load_photos(source, max(config.crop), config.held_out, config.classes)
    run = Run(config, photos, saved)
    with locked(out / LOCKS, jax.process_index(), jax.process_count()):
        updates = run.updates(done=latest_step(out / CHECKPOINTS))
        if leads():
            begin(out, config)
        return _continued(out, run, updates, report)


def _continued(
    out: Path, run: Run, updates: dict[Phase, Update], report: Report
) -> Path | None:
    """Train from the latest checkpoint on; returns as `train`."""
    with (
        Checkpoints(out / CHECKPOINTS, cleans=True) as checkpoints,
        stop_signals() as stopped,
    ):
        state = checkpoints.restore(run.initial_state())
        done = int(state.step)
        with Logs(out, done, writes=leads()) as logs:
            for phase, update in updates.items():
                state = run.phase(
                    phase, update, state, checkpoints, logs, out, report, stopped
                )
                done = int(state.step)
                if stopped() or done < phase.last:
                    return None
    return _write_prior(out, run, state)


def averaged_prior(out: Path) -> tuple[NetworkPrior, int]:
    """A prior with the averaged weights of a run's latest checkpoint.

    Args:
      out: the run's folder; the run may be in progress or finished.

    Returns:
      The prior, and the step of the checkpoint.

    Raises:
      ValueError: if the run has no checkpoint yet, or trains classes or a condition.
    """
    config = TrainConfig.from_json((Path(out) / "config.json").read_text())
    if config.classes or config.condition:
        raise ValueError(f"{out} trains a network that takes a class or a condition")
    saved = saved_start(config)
    network, params = initial_network(config, saved, None)
    shapes = jax.eval_shape(partial(init_state, config, network), params)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(Path(out) / CHECKPOINTS) as checkpoints:
        state = checkpoints.restore(
            jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device),
                shapes,
            )
        )
    if isinstance(state.step, jax.ShapeDtypeStruct):
        raise ValueError(f"{out} has no checkpoint yet")
    schedule = config.noise_schedule()
    prior = network_prior(network, state.ema, schedule, **_fields(config, saved))
    return prior, int(state.step)


def _fields(config: TrainConfig, saved: SavedNetwork | None) -> dict[str, Any]:
    """What `network_prior` and `save_prior` are told of a run's network."""
    return {
        "predicts": config.predicts,
        "flow": config.flow,
        "sees": "pinv" if config.condition else None,
        "trained_size": trained_size(config, saved),
        "symmetries": CROP_SYMMETRIES,
    }


def _check_devices(config: TrainConfig) -> None:
    """Check that each batch can be divided among the devices."""
    for phase in config.phases():
        if phase.batch % jax.device_count():
            raise ValueError(
                f"a batch of {phase.batch} crops of {phase.crop} pixels cannot be "
                f"divided among {jax.device_count()} devices; choose another --batch"
            )


def _write_prior(out: Path, run: Run, state: TrainState) -> Path:
    """Save the averaged weights as a prior."""
    config, photos = run.config, run.photos
    source = {
        "description": f"trained by `pigdm train` on {len(photos.train)} photos",
        "training": config.to_json(),
    }
    if photos.classes is not None:
        source["classes"] = ", ".join(photos.classes)
    params = jax.tree.map(np.asarray, state.ema)
    if leads():
        save_prior(
            out / "prior",
            run.network,
            params,
            config.schedule,
            source,
            **_fields(config, run.saved),
        )
    return out / "prior"
