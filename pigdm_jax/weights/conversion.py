"""One checkpoint file to one prior's folder."""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np

from pigdm_convert.reader import CheckpointError, read_checkpoint
from pigdm_convert.tensor import Refused, Tensor
from pigdm_jax.networks import ARCHITECTURES, CheckpointFlags, Recognised
from pigdm_jax.weights.store import save_prior


def convert(
    file: Path,
    out: Path,
    flags: CheckpointFlags | None = None,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    description: str = "",
) -> list[str]:
    """Convert a PyTorch checkpoint of an ADM UNet into a prior.

    Args:
      file: a .pt, .pth or .safetensors file with a plain state dict.
      out: the folder to make.
      flags: what the tensors do not tell.
      dtype: how to store the parameters, "float32" or "float16".
      description: a line for `pigdm info`.

    Returns:
      What was found, assumed and written, line by line.

    Raises:
      CheckpointError: if the file is not such a checkpoint, or is not whole, or what it
        is stays open. Then nothing is written.
    """
    file, out = Path(file), Path(out)
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists; choose another place or remove it first")
    checkpoint = read_checkpoint(file)
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    try:
        name, found = _recognise(shapes, flags or CheckpointFlags())
        architecture, network = ARCHITECTURES[name], found.network
        architecture.check_names(shapes, network)
        params = architecture.to_params(
            (name, _read(name, tensor, dtype))
            for name, tensor in checkpoint.tensors.items()
        )
    except (CheckpointError, Refused) as error:
        raise CheckpointError(f"{file} is not converted: {error}") from None
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    source = {
        "description": description or ", ".join(found.names),
        "file": file.name,
        "sha256": sha256,
        "format": checkpoint.format,
        "recognised": ", ".join(found.names),
        "assumed": "; ".join(found.assumptions),
        "overridden": "; ".join(found.overrides),
    }
    try:
        save_prior(
            out,
            network,
            params,
            found.schedule,
            source,
            sees="upsample" if network.takes_image else None,
            trained_size=network.image_size,
        )
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written: {error.strerror}") from None
    count = sum(math.prod(shape) for shape in shapes.values())
    return [
        f"{file}: {checkpoint.format} format, {len(shapes)} tensors, "
        f"{count / 1e6:.2f} M parameters, sha256 {sha256}",
        *_report(found),
        f"wrote {out}",
    ]


def _recognise(
    shapes: dict[str, tuple[int, ...]], flags: CheckpointFlags
) -> tuple[str, Recognised]:
    """The architecture that has such tensors, and what it recognises in them.

    Raises:
      CheckpointError: the first architecture's, if none has.
    """
    errors = []
    for name, architecture in ARCHITECTURES.items():
        try:
            return name, architecture.recognise(shapes, flags)
        except CheckpointError as error:
            errors.append(error)
    raise errors[0]


def _report(found: Recognised) -> list[str]:
    settings = dataclasses.asdict(found.network.config) | {"schedule": found.schedule}
    lines = [
        "recognised by its tensors: " + " or ".join(found.names)
        if found.names
        else "not one of the public checkpoints",
        "network: " + ", ".join(f"{key} {value}" for key, value in settings.items()),
    ]
    if found.overrides:
        lines.append("as the flags say: " + "; ".join(found.overrides))
    if found.assumptions:
        lines.append("assumed, for want of a flag: " + "; ".join(found.assumptions))
    return lines


def _read(name: str, tensor: Tensor, dtype: str) -> np.ndarray:
    """A tensor in the type that it is stored in."""
    if not (tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"):
        raise CheckpointError(f"{name} is of type {tensor.dtype}, not floating-point")
    # What overflows is no longer finite, and said to be below.
    with np.errstate(over="ignore"):
        array = tensor.read().astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} is not finite as {dtype}")
    return array
