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
    """Convert a PyTorch checkpoint to a prior; PyTorch is not needed.

    Supported are the ADM UNet, the UNet of DDPM (from diffusers, its original, or
    PnP-Flow) and JiT.

    The configuration is read from the tensors, and public checkpoints are recognised.
    For other checkpoints the flags give what the tensors do not determine.

    Args:
      file: a .pt, .pth, .ckpt, .bin or .safetensors file, or a folder of diffusers with
        config.json.
      out: the folder to write, which `--prior` takes.
      flags: what the tensors do not determine.
    """
    check_readable(file)

    from pigdm_jax.cli.console import console
    from pigdm_jax.weights.conversion import convert as convert_file

    for line in convert_file(file, out, flags):
        console.print(line)
