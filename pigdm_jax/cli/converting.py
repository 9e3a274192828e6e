"""`pigdm convert`: convert a PyTorch checkpoint to a prior."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from pigdm_jax.core.paths import check_readable
from pigdm_jax.networks.adm.flags import CheckpointFlags


def convert(
    file: Positional[Path],
    out: Positional[Path],
    flags: tyro.conf.DisallowNone[
        Annotated[CheckpointFlags, tyro.conf.arg(name="")]
    ] = CheckpointFlags(),  # noqa: B008
) -> None:
    """Convert a PyTorch checkpoint of an ADM UNet; PyTorch is not needed.

    The configuration is read from the tensors, and public checkpoints are recognised.
    For other checkpoints the flags give what the tensors do not determine.

    Args:
      file: a .pt, .pth or .safetensors file with a plain state dict.
      out: the folder to write, which `--prior` takes.
      flags: what the tensors do not determine.
    """
    check_readable(file)

    from pigdm_jax.cli.console import console
    from pigdm_jax.weights.conversion import convert as convert_file

    for line in convert_file(file, out, flags):
        console.print(line)
