"""Priors on disk: an Orbax checkpoint beside a readable `prior.json`."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from pigdm_jax.prior import UNetPrior, unet_prior
from pigdm_jax.schedule import Schedule, as_schedule
from pigdm_jax.types import Image
from pigdm_jax.unet import UNet, UNetConfig

FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent / "priors"
METADATA = "prior.json"
PARAMS = "params"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` if the block ends well, else nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_prior(
    path: Path,
    params: Any,
    config: UNetConfig,
    schedule: Schedule | str,
    source: dict[str, str],
    predicts: str = "eps",
) -> None:
    """Write a prior; `path` appears complete or not at all.

    Args:
      path: the folder to make.
      params: parameters of `UNet(config)`, float32 or float16 (they compute as
        float32 once loaded).
      config: the network's configuration.
      schedule: the schedule it was trained with.
      source: where the weights are from, for people to read.
      predicts: what the network predicts; see `unet_prior`.

    Raises:
      ValueError: if `path` exists.
    """
    path = Path(path).absolute()
    if path.exists():
        raise ValueError(f"{path} exists; choose another place or remove it first")
    metadata = {
        "format_version": FORMAT_VERSION,
        "config": dataclasses.asdict(config),
        "schedule": _schedule_to_json(as_schedule(schedule)),
        "predicts": predicts,
        "source": source,
    }
    # Orbax copies NumPy arrays before it writes, JAX's it does not: with these limits a
    # checkpoint of 2.2 GB is written in less than 4 GB.
    on_cpu = jax.local_devices(backend="cpu")[0]
    params = jax.tree.map(lambda a: jax.device_put(a, on_cpu), params)
    handler = ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=1, save_device_host_concurrent_gb=1
    )
    with written_whole(path) as folder:
        with ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(folder / PARAMS, params)
        text = json.dumps(metadata, indent=1)
        (folder / METADATA).write_text(text + "\n")


def load_prior(
    name_or_path: str | Path,
    *,
    label: int | None = None,
    low_res: Image | None = None,
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> UNetPrior:
    """Load a shipped prior by name, or a converted checkpoint by its folder.

    Args:
      name_or_path: one of `shipped_priors()`, or a folder that `pigdm convert` made.
      label: class index, for a prior with classes.
      low_res: the small image in [-1, 1], for a super-resolution prior.
      dtype: of convolutions and matrix products; parameters, norms and softmax stay
        float32.
      remat: recompute blocks in the backward pass: less memory, more time.

    Raises:
      ValueError: if there is no such prior or the folder holds something else.
    """
    saved = read_network(name_or_path)
    return unet_prior(
        saved.config,
        saved.params,
        saved.schedule,
        label,
        predicts=saved.predicts,
        low_res=low_res,
        dtype=dtype,
        remat=remat,
    )


class SavedNetwork(NamedTuple):
    """What a prior's folder holds."""

    config: UNetConfig
    params: Any
    schedule: Schedule
    predicts: str


def read_network(name_or_path: str | Path) -> SavedNetwork:
    """The network of a shipped prior, or of one in a folder.

    Raises:
      ValueError: if there is no such prior or the folder holds something else.
    """
    path = _find(name_or_path)
    metadata = read_metadata(path)
    config = UNetConfig(**metadata["config"])
    params = _restore(path / PARAMS)
    _check_params(params, config, path)
    schedule = _schedule_from_json(metadata["schedule"])
    # Folders from before networks predicted anything else do not say it.
    return SavedNetwork(config, params, schedule, metadata.get("predicts", "eps"))


def shipped_priors() -> list[str]:
    """Names of the priors that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{METADATA}"))


def read_metadata(path: Path) -> dict[str, Any]:
    """What `prior.json` in a prior's folder says.

    Raises:
      ValueError: if there is none, or it is of another format.
    """
    try:
        metadata = json.loads((path / METADATA).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(
            f"{path} is no prior: it has no readable {METADATA}; make one from a "
            "PyTorch checkpoint with `pigdm convert FILE OUT`"
        ) from None
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {metadata.get('format_version')}; this "
            f"version of pigdm_jax reads version {FORMAT_VERSION}"
        )
    return metadata


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_priors():
        return SHIPPED / str(name_or_path)
    path = Path(name_or_path).absolute()
    if not path.is_dir():
        raise ValueError(
            f"no prior {str(name_or_path)!r}: give a folder made by `pigdm convert`, "
            f"or one of {', '.join(shipped_priors())}"
        )
    return path


def _restore(path: Path) -> Any:
    """The parameters as float32 arrays on the default device."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), saved)
        params = checkpointer.restore(path, restore_args=as_numpy)
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)


def _check_params(params: Any, config: UNetConfig, path: Path) -> None:
    """Refuse parameters that are not those of the configured network."""
    expected = expected_params(config)
    same = jax.tree.structure(expected) == jax.tree.structure(params) and all(
        a.shape == b.shape
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True)
    )
    if not same:
        raise ValueError(f"{path}: its parameters do not fit the network in {METADATA}")


def expected_params(config: UNetConfig) -> Any:
    """Shapes of the parameters of `UNet(config)`, as a pytree."""
    side = config.multiple
    x = jax.ShapeDtypeStruct((1, side, side, config.image_channels), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    label = jax.ShapeDtypeStruct((1,), jnp.int32) if config.num_classes else None
    low_res = x if config.in_channels != config.image_channels else None
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    init = UNet(config).init
    return jax.eval_shape(init, key, x, t, label, low_res)["params"]


def _schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    for name in ("linear", "cosine"):
        if schedule == Schedule.named(name):
            return {"name": name}
    return {"betas": list(schedule.betas)}


def _schedule_from_json(saved: dict[str, Any]) -> Schedule:
    if "betas" in saved:
        return Schedule.from_betas(saved["betas"])
    return Schedule.named(saved["name"])
