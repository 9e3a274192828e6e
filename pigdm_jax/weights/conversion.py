"""Conversion of a PyTorch checkpoint to a saved prior."""

import dataclasses
import hashlib
import itertools
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pigdm_convert.reader import Checkpoint, CheckpointError, read_checkpoint
from pigdm_convert.tensor import Refused, Tensor
from pigdm_jax.networks import (
    ARCHITECTURES,
    Architecture,
    CheckpointFlags,
    Recognised,
)
from pigdm_jax.networks.base import Shapes
from pigdm_jax.priors.schedule import Schedule
from pigdm_jax.weights.store import save_prior


def convert(
    file: Path,
    out: Path,
    flags: CheckpointFlags | None = None,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    description: str = "",
) -> list[str]:
    """Convert a PyTorch checkpoint to a saved prior.

    Args:
      file: a .pt, .pth, .ckpt, .bin or .safetensors file of one of the `ARCHITECTURES`,
        an index of shards, or a folder of diffusers with `config.json`. Of several sets
        of weights in a file the averaged one (EMA) is taken.
      out: the folder to create.
      flags: settings that the tensors do not determine.
      dtype: type of the saved parameters, "float32" or "float16".
      description: a line for `pigdm info`; by default the checkpoint's name.

    Returns:
      A report in lines: what was recognised, assumed and written.

    Raises:
      CheckpointError: if the file is not such a checkpoint, is damaged, or leaves a
        setting open. Nothing is written then.
    """
    file, out = Path(file), Path(out)
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists; choose another place or remove it first")
    checkpoint = read_checkpoint(file)
    try:
        found, params = _recognised(checkpoint, flags or CheckpointFlags(), dtype)
    except (CheckpointError, Refused) as error:
        raise CheckpointError(f"{file} is not converted: {error}") from None
    source = _source(checkpoint, found, description)
    try:
        _save(out, found, params, source)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written: {error.strerror}") from None
    shapes = [tensor.shape for tensor in checkpoint.tensors.values()]
    count = sum(map(math.prod, shapes)) / 1e6
    first = f"{file}: {checkpoint.format} format, {len(shapes)} tensors, {count:.2f} M "
    first += f"parameters, sha256 {source['sha256']}"
    return [first, *checkpoint.notes, *_report(found), f"wrote {out}"]


def _recognised(
    checkpoint: Checkpoint, flags: CheckpointFlags, dtype: str
) -> tuple[Recognised, Any]:
    """What a checkpoint holds, and its parameters as this network takes them.

    Raises:
      CheckpointError: if it is of no known architecture, or does not fit its own.
      Refused: if a setting is left open.
    """
    tensors = checkpoint.tensors
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    architecture = _closest(shapes)
    found = architecture.recognise(shapes, flags, checkpoint.documents)
    architecture.check_names(shapes, found.network)
    arrays = ((name, _read(name, tensor, dtype)) for name, tensor in tensors.items())
    return found, architecture.to_params(arrays, found.network)


def _save(out: Path, found: Recognised, params: Any, source: dict[str, str]) -> None:
    """Save what a checkpoint holds as a prior."""
    network, betas = found.network, found.schedule
    save_prior(
        out,
        network,
        params,
        betas if isinstance(betas, str) else Schedule.from_betas(betas),
        source,
        found.predicts,
        flow=found.flow,
        sees="upsample" if network.takes_image else None,
        trained_size=network.image_size,
    )


def _source(
    checkpoint: Checkpoint, found: Recognised, description: str
) -> dict[str, str]:
    """Where the weights are from, as `save_prior` takes it."""
    digests = []
    for file in checkpoint.files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return {
        "description": description or ", ".join(found.names),
        "file": ", ".join(file.name for file in checkpoint.files),
        "sha256": ", ".join(digests),
        "format": checkpoint.format,
        "recognised": ", ".join(found.names),
        "assumed": "; ".join(found.assumptions),
        "overridden": "; ".join(found.overrides),
    }


def _closest(shapes: Shapes) -> Architecture:
    """The architecture that most tensors have a name of.

    Raises:
      CheckpointError: if no tensor has, names the architectures.
    """

    def count(architecture: Architecture) -> int:
        return sum(name.startswith(architecture.marks) for name in shapes)

    best = max(ARCHITECTURES.values(), key=count)
    if not count(best):
        titles = " or ".join(a.title for a in ARCHITECTURES.values())
        some = ", ".join(itertools.islice(shapes, 3))
        raise CheckpointError(
            f"its tensors ({some}, ...) are not those of a network that can be "
            f"converted, which is {titles}"
        )
    return best


def _report(found: Recognised) -> list[str]:
    """The report's lines about the network."""
    schedule = found.schedule
    if not isinstance(schedule, str):
        schedule = f"of {len(schedule)} betas"
    predicts = f"a flow's {found.predicts}" if found.flow else found.predicts
    settings = dataclasses.asdict(found.network.config)
    settings |= {"schedule": schedule, "predicts": predicts}
    lines = [
        "recognised by its tensors: " + " or ".join(found.names)
        if found.names
        else "not one of the public checkpoints",
        "network: " + ", ".join(f"{key} {value}" for key, value in settings.items()),
    ]
    if found.overrides:
        lines.append("set by flags: " + "; ".join(found.overrides))
    if found.assumptions:
        lines.append("assumed without a flag: " + "; ".join(found.assumptions))
    return lines


def _read(name: str, tensor: Tensor, dtype: str) -> np.ndarray:
    """Read a tensor in the type in which it will be saved.

    Raises:
      CheckpointError: if it is not floating-point, or not finite in that type.
    """
    if not (tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"):
        raise CheckpointError(f"{name} is of type {tensor.dtype}, not floating-point")
    # Overflow is reported below, as values that are not finite.
    with np.errstate(over="ignore"):
        array = tensor.read().astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} is not finite as {dtype}")
    return array
