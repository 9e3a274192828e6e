"""Tensors by name, from the files that PyTorch and safetensors write.

Nothing is loaded before it is asked for: a tensor is read from its place in the file.
"""

from pathlib import Path
from typing import NamedTuple

from pigdm_convert.pytorch import read_legacy, read_zip
from pigdm_convert.safetensors_file import read_safetensors
from pigdm_convert.tensor import Refused, Tensor


class CheckpointError(ValueError):
    """A checkpoint that cannot be converted; one sentence says why."""

    def __init__(self, sentence: str) -> None:
        # Names come from the file: they shall not break lines nor steer a terminal.
        printable = (c if c.isprintable() else "?" for c in sentence)
        super().__init__("".join(printable))


class Checkpoint(NamedTuple):
    """The tensors of a file, and which of the formats it has."""

    tensors: dict[str, Tensor]
    format: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a .pt, .pth or .safetensors file that holds a plain state dict.

    Raises:
      CheckpointError: if the file is anything else, or not whole.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    try:
        # First, since safetensors begin with a length: any byte at all.
        if start[8:9] == b"{" or (start and path.suffix == ".safetensors"):
            return Checkpoint(read_safetensors(path), "safetensors")
        if start.startswith(b"PK\x03\x04"):
            return Checkpoint(read_zip(path), "PyTorch zip")
        if start.startswith(b"\x80"):
            return Checkpoint(read_legacy(path), "PyTorch legacy")
        raise Refused(_foreign(start))
    except Refused as reason:
        raise CheckpointError(f"{path} is not converted: {reason}") from None


def _foreign(start: bytes) -> str:
    """What a file is that is no checkpoint, by how it begins."""
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
