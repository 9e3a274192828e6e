"""Saved priors: an Orbax checkpoint and a readable `prior.json` in one folder."""

import dataclasses
import json
import math
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
from pigdm_jax.weights.disk import check_space, orbax_writes, written_whole
from pigdm_jax.weights.downloads import Progress
from pigdm_jax.weights.metadata import (
    FORMAT_VERSION,
    read_metadata,
    schedule_from_json,
    schedule_to_json,
)
from pigdm_jax.weights.names import METADATA, find_prior

PARAMS = "params"
COMPRESSION = 100  # at most, of trained weights; those that are still 0 are few


def save_prior(
    path: Path,
    network: Network,
    params: Any,
    schedule: Schedule | str,
    source: dict[str, str],
    predicts: str = "eps",
    *,
    flow: bool = False,
    sees: str | None = None,
    trained_size: int | None = None,
    symmetries: int = 1,
) -> None:
    """Save a prior in a folder, which appears complete or not at all.

    Args:
      path: the folder to create.
      network: the Flax module, of one of the `ARCHITECTURES`.
      params: its parameters, float32 or float16; `load_prior` returns float32.
      schedule: the schedule that it was trained with, or "linear" or "cosine".
      source: where the weights are from, for people to read.
      predicts: what the network predicts; see `network_prior`.
      flow: whether it was trained by flow matching; see `network_prior`.
      sees: the image that it takes besides x_t; see `network_prior`.
      trained_size: side in pixels of the images it was trained on; None if unknown.
      symmetries: see `network_prior`.

    Raises:
      ValueError: if `path` exists, the architecture is unknown, or the parameters do
        not fit the network, or the disk is too small.
      OSError: if the folder cannot be written.

    Examples:
      >>> import tempfile
      >>> import jax, jax.numpy as jnp, pigdm_jax as pj
      >>> config = pj.UNetConfig(
      ...     model_channels=32,
      ...     channel_mult=(1,),
      ...     num_res_blocks=1,
      ...     attention_resolutions=(),
      ... )
      >>> network = pj.UNet(config)
      >>> x_t = jnp.zeros((8, 8, 3))
      >>> variables = network.init(jax.random.key(0), x_t[None], jnp.zeros(1))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = f"{folder}/prior"
      ...     pj.save_prior(path, network, variables["params"], "linear", {})
      ...     prior = pj.load_prior(path)
      >>> prior(x_t, 500).shape
      (8, 8, 3)
    """
    path = Path(path).absolute()
    if path.exists():
        raise ValueError(f"{path} exists; choose another place or remove it first")
    metadata = {
        "format_version": FORMAT_VERSION,
        "architecture": architecture_of(network),
        "config": dataclasses.asdict(network.config),
        "schedule": schedule_to_json(as_schedule(schedule)),
        "predicts": predicts,
        "flow": flow,
        "sees": sees,
        "trained_size": trained_size,
        "symmetries": symmetries,
        "source": source,
        "arrays": array_digests(params),
    }
    _check_params(params, network, path)
    metadata["fits"] = fits_digest(metadata)
    # Orbax copies NumPy arrays before it writes them, but not JAX arrays. With these
    # limits a checkpoint of 2.2 GB is written in less than 4 GB of memory.
    on_cpu = jax.local_devices(backend="cpu")[0]
    params = jax.tree.map(lambda a: jax.device_put(a, on_cpu), params)
    handler = ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=1, save_device_host_concurrent_gb=1
    )
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    check_space(path.parent, size, str(path))
    with written_whole(path) as folder:
        with orbax_writes(path), ocp.Checkpointer(handler) as checkpointer:
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
    progress: Progress | None = None,
) -> NetworkPrior:
    """Load a prior by its name, or a saved one by its folder.

    Args:
      name_or_path: one of `shipped_priors()`; a name that `pigdm prior list` shows, or
        "hf:org/name" for a `UNet2DModel` of diffusers at Hugging Face, which is
        downloaded, verified and converted on first use; or a folder that `save_prior`,
        `pigdm convert` or `pigdm train` wrote.
      label: class index, for a prior with classes.
      dtype: type of convolutions and matrix products; parameters, norms and softmax
        stay float32.
      remat: recompute blocks in the backward pass, which takes less memory and more
        time.
      progress: for a prior that is downloaded, called with what is being done (a text),
        the bytes that are done, and those to be done (None if unknown).

    Raises:
      ValueError: if there is no such prior, it cannot be downloaded, the folder does
        not contain one, or a file in it is damaged.

    Examples:
      >>> import pigdm_jax as pj
      >>> prior = pj.load_prior("photos-64")
      >>> prior.trained_size, prior.multiple
      (192, 8)
    """
    saved = read_network(name_or_path, progress)
    network = saved.network.clone(dtype=dtype, remat=remat)
    return network_prior(
        network,
        saved.params,
        saved.schedule,
        label,
        predicts=saved.predicts,
        flow=saved.flow,
        sees=saved.sees,
        trained_size=saved.trained_size,
        symmetries=saved.symmetries,
    )


class SavedNetwork(NamedTuple):
    """The contents of a saved prior; for the fields see `save_prior`."""

    network: Network
    params: Any
    schedule: Schedule
    predicts: str
    flow: bool
    sees: str | None
    trained_size: int | None
    symmetries: int


def read_network(
    name_or_path: str | Path, progress: Progress | None = None
) -> SavedNetwork:
    """Read a prior, as `load_prior` finds it, and check its digests.

    Raises:
      ValueError: as `load_prior`.
    """
    path = find_prior(name_or_path, progress)
    metadata = read_metadata(path)
    try:
        network = ARCHITECTURES[metadata["architecture"]].build(metadata["config"])
        schedule = schedule_from_json(metadata["schedule"])
    except ValueError as error:
        raise ValueError(f"{path / METADATA}: {error}") from None
    check_files(path / PARAMS, metadata["files"])
    params = _restore(path / PARAMS, metadata["arrays"])
    if metadata.get("fits") != fits_digest(metadata):
        _check_params(params, network, path)
    return SavedNetwork(
        network,
        params,
        schedule,
        metadata["predicts"],
        metadata["flow"],
        metadata["sees"],
        metadata["trained_size"],
        metadata["symmetries"],
    )


def _restore(path: Path, expected: dict[str, str]) -> Any:
    """The parameters as float32 arrays on the default device.

    Raises:
      ValueError: if there are none, or one differs from the one that was saved.
    """
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path).item_metadata.tree
            _check_sizes(saved, path)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(np.ndarray), saved)
            params = checkpointer.restore(path, restore_args=as_numpy)
    # Of a folder that is not a whole checkpoint, Orbax raises anything.
    except Exception as error:
        raise ValueError(
            f"{path} holds no arrays that can be read ({type(error).__name__}); copy "
            "or make the prior again"
        ) from None
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


def _check_sizes(saved: Any, path: Path) -> None:
    """Refuse arrays that would take far more memory than their files.

    Raises:
      ValueError: if they would.
    """
    files = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    arrays = sum(
        math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(saved)
    )
    if arrays > COMPRESSION * files:
        raise ValueError(f"{arrays} bytes of arrays in {files} bytes")


def _check_params(params: Any, network: Network, path: Path) -> None:
    """Compare the shapes of parameters with those of the network.

    Raises:
      ValueError: if they differ.
    """
    try:
        expected = parameter_shapes(network)
    # Flax raises anything for a configuration that makes no network.
    except Exception as error:
        raise ValueError(
            f"{path}: the network in {METADATA} cannot be built "
            f"({type(error).__name__})"
        ) from None
    forms: list[Any] = [jax.tree.structure(expected), jax.tree.structure(params)]
    same = forms[0] == forms[1] and all(
        a.shape == b.shape
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True)
    )
    if not same:
        raise ValueError(f"{path}: its parameters do not fit the network in {METADATA}")
