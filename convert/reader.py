"""Reading checkpoint files of any supported format; tensors are read on demand."""

import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pigdm_convert.folder import INDEX, read_folder, read_shards
from pigdm_convert.pytorch import read_legacy, read_zip
from pigdm_convert.safetensors_file import read_safetensors
from pigdm_convert.tensor import Refused, Tensor


class CheckpointError(ValueError):
    """A checkpoint cannot be converted; the message is one sentence."""

    def __init__(self, sentence: str) -> None:
        # Names come from the file: they must not break lines or control a terminal.
        printable = (c if c.isprintable() else "?" for c in sentence)
        super().__init__("".join(printable))


class Checkpoint(NamedTuple):
    """A network's weights.

    Attributes:
      tensors: by name, without the prefixes of wrappers.
      format: the name of the file's format.
      files: that hold the tensors.
      documents: JSON objects beside them: "config" and "scheduler", if any.
      notes: what was chosen and left out, as phrases.
    """

    tensors: dict[str, Tensor]
    format: str
    files: tuple[Path, ...]
    documents: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a .pt, .pth, .ckpt, .bin or .safetensors file, or in a folder.

    A file may hold a state dict, or one among an optimizer's state and the like; see
    `pigdm_convert.state`. A folder is one of diffusers. An index of shards,
    `*.index.json`, stands for all of them.

    Raises:
      CheckpointError: if it is anything else, or damaged.
    """
    try:
        if path.is_dir():
            folder = read_folder(path)
            checkpoint = _read_weights(folder.weights)
            return checkpoint._replace(documents=folder.documents)
        return _read_weights(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except Refused as reason:
        raise CheckpointError(f"{path} is not converted: {reason}") from None


def _read_weights(path: Path) -> Checkpoint:
    """The weights in a file, or in the shards of an index.

    Raises:
      CheckpointError, Refused: if it is anything else, or damaged.
    """
    if path.name.endswith(INDEX):
        parts: list[Checkpoint] = []

        def read(shard: Path) -> dict[str, Tensor]:
            parts.append(_read_file(shard))
            return parts[-1].tensors

        tensors, shards = read_shards(path, read)
        return Checkpoint(tensors, f"{parts[0].format}, {len(shards)} shards", shards)
    return _read_file(path)


def _read_file(path: Path) -> Checkpoint:
    """The weights in one file.

    Raises:
      CheckpointError, Refused: if it is anything else, or damaged.
    """
    try:
        if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(f"{path} is no regular file")
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    # Checked first: safetensors files begin with a length, which may be any bytes.
    if start[8:9] == b"{" or (start and path.suffix == ".safetensors"):
        kind, weights = "safetensors", read_safetensors(path)
    elif start.startswith(b"PK\x03\x04"):
        kind, weights = "PyTorch zip", read_zip(path)
    elif start.startswith(b"\x80"):
        kind, weights = "PyTorch legacy", read_legacy(path)
    else:
        raise Refused(_foreign(start))
    return Checkpoint(weights.tensors, kind, (path,), notes=weights.notes)


def _foreign(start: bytes) -> str:
    """The reason why a file that begins like this is refused."""
    if not start:
        return "it is empty"
    if start.lstrip().startswith(b"<"):
        return "it is a web page: the download went wrong"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer to a file in Git LFS: fetch it by `git lfs pull`"
    if start[257:262] == b"ustar":
        return (
            "it is in PyTorch's oldest format (tar); load it in PyTorch and save it "
            "again"
        )
    return "it is in none of the formats that PyTorch or safetensors write"
