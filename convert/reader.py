"""Reading checkpoint files of any supported format; tensors are read on demand."""

import stat
from pathlib import Path
from typing import NamedTuple

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
    """The tensors of a file by name, and the name of its format."""

    tensors: dict[str, Tensor]
    format: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a .pt, .pth or .safetensors file with a plain state dict.

    Raises:
      CheckpointError: if the file is anything else, or damaged.
    """
    try:
        if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(f"{path} is no regular file")
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    try:
        # Checked first: safetensors files begin with a length, which may be any bytes.
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
