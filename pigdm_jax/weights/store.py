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

from pigdm_jax.networks import (
    ARCHITECTURES,
    Network,
    architecture_of,
    parameter_shapes,
)
from pigdm_jax.priors.network import NetworkPrior, network_prior
from pigdm_jax.priors.schedule import Schedule, as_schedule
from pigdm_jax.weights.digests import (
    array_digests,
    check_files,
    file_digests,
    fits_digest,
)
from pigdm_jax.weights.names import METADATA, find_prior

FORMAT_VERSION = 2
PARAMS = "params"
FIELDS = {
    "architecture",
    "config",
    "schedule",
    "predicts",
    "sees",
    "trained_size",
    "source",
    "arrays",
    "files",
}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` if the block succeeds, else nothing.

    Orbax writes what it saves itself atomically; here the digests of its files go into
    `prior.json` beside them, so the two appear together.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_prior(
    path: Path,
    network: Network,
    params: Any,
    schedule: Schedule | str,
    source: dict[str, str],
    predicts: str = "eps",
    *,
    sees: str | None = None,
    trained_size: int | None = None,
) -> None:
    """Write a prior; `path` appears complete or not at all.

    Args:
      path: the folder to make.
      network: the Flax module, of one of the `ARCHITECTURES`.
      params: its parameters, float32 or float16 (they compute as float32 once loaded).
      schedule: the schedule it was trained with.
      source: where the weights are from, for people to read.
      predicts: what the network predicts; see `network_prior`.
      sees: what it sees besides x_t; see `network_prior`.
      trained_size: side of the images it was trained on, where it is known.

    Raises:
      ValueError: if `path` exists.
    """
    path = Path(path).absolute()
    if path.exists():
        raise ValueError(f"{path} exists; choose another place or remove it first")
    metadata = {
        "format_version": FORMAT_VERSION,
        "architecture": architecture_of(network),
        "config": dataclasses.asdict(network.config),
        "schedule": _schedule_to_json(as_schedule(schedule)),
        "predicts": predicts,
        "sees": sees,
        "trained_size": trained_size,
        "source": source,
        "arrays": array_digests(params),
    }
    _check_params(params, network, path)
    metadata["fits"] = fits_digest(metadata)
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
        metadata["files"] = file_digests(folder / PARAMS)
        text = json.dumps(metadata, indent=1)
        (folder / METADATA).write_text(text + "\n")


def load_prior(
    name_or_path: str | Path,
    *,
    label: int | None = None,
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> NetworkPrior:
    """Load a shipped prior by name, or a converted checkpoint by its folder.

    Args:
      name_or_path: one of `shipped_priors()`, or a folder that `pigdm convert` made.
      label: class index, for a prior with classes.
      dtype: of convolutions and matrix products; parameters, norms and softmax stay
        float32.
      remat: recompute blocks in the backward pass: less memory, more time.

    Raises:
      ValueError: if there is no such prior, or the folder holds something else, or an
        array in it is damaged.
    """
    saved = read_network(name_or_path)
    network = saved.network.clone(dtype=dtype, remat=remat)
    return network_prior(
        network,
        saved.params,
        saved.schedule,
        label,
        predicts=saved.predicts,
        sees=saved.sees,
        trained_size=saved.trained_size,
    )


class SavedNetwork(NamedTuple):
    """The contents of a prior's folder."""

    network: Network
    params: Any
    schedule: Schedule
    predicts: str
    sees: str | None
    trained_size: int | None


def read_network(name_or_path: str | Path) -> SavedNetwork:
    """The network of a shipped prior, or of one in a folder.

    Raises:
      ValueError: if there is no such prior, or the folder holds something else, or an
        array in it is damaged.
    """
    path = find_prior(name_or_path)
    metadata = read_metadata(path)
    network = ARCHITECTURES[metadata["architecture"]].build(metadata["config"])
    check_files(path / PARAMS, metadata["files"])
    params = _restore(path / PARAMS, metadata["arrays"])
    if metadata.get("fits") != fits_digest(metadata):
        _check_params(params, network, path)
    schedule = _schedule_from_json(metadata["schedule"])
    return SavedNetwork(
        network,
        params,
        schedule,
        metadata["predicts"],
        metadata["sees"],
        metadata["trained_size"],
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """The contents of `prior.json` in a prior's folder.

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
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, and this version of pigdm_jax reads "
            f"version {FORMAT_VERSION}; make it again from its checkpoint with `pigdm "
            "convert`, or from its training run with `pigdm train`"
        )
    missing = FIELDS - metadata.keys()
    if missing:
        raise ValueError(f"{path / METADATA} lacks {', '.join(sorted(missing))}")
    if metadata["architecture"] not in ARCHITECTURES:
        raise ValueError(
            f"{path} is of the architecture {metadata['architecture']!r}; this version "
            f"of pigdm_jax knows {', '.join(ARCHITECTURES)}"
        )
    return metadata


def _restore(path: Path, expected: dict[str, str]) -> Any:
    """The parameters as float32 arrays on the default device.

    Raises:
      ValueError: if an array is not the one that was saved.
    """
    with ocp.PyTreeCheckpointer() as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), saved)
        params = checkpointer.restore(path, restore_args=as_numpy)
    if (digests := array_digests(params)) != expected:
        names = sorted(
            name
            for name in expected.keys() | digests.keys()
            if expected.get(name) != digests.get(name)
        )
        raise ValueError(
            f"{path}: the array {names[0]} is not the one {METADATA} names"
        )
    # Cast by NumPy: JAX would compile a program for each shape.
    return jax.device_put(jax.tree.map(lambda a: a.astype(np.float32), params))


def _check_params(params: Any, network: Network, path: Path) -> None:
    """Refuse parameters that are not those of the configured network."""
    expected = parameter_shapes(network)
    forms: list[Any] = [jax.tree.structure(expected), jax.tree.structure(params)]
    same = forms[0] == forms[1] and all(
        a.shape == b.shape
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True)
    )
    if not same:
        raise ValueError(f"{path}: its parameters do not fit the network in {METADATA}")


def _schedule_to_json(schedule: Schedule) -> dict[str, Any]:
    for name in ("linear", "cosine"):
        if schedule == Schedule.named(name):
            return {"name": name}
    return {"betas": list(schedule.betas)}


def _schedule_from_json(saved: dict[str, Any]) -> Schedule:
    if "betas" in saved:
        return Schedule.from_betas(saved["betas"])
    return Schedule.named(saved["name"])
