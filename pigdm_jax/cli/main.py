"""The command `pigdm`; each subcommand has a module in this folder.

None of these modules imports JAX at the top level, so help and argument errors appear
at once: each command checks its arguments first and imports what computes afterwards.
"""

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import tyro

from pigdm_jax.cli.arguments import check_arguments
from pigdm_jax.cli.compiling import compile_ahead
from pigdm_jax.cli.converting import convert
from pigdm_jax.cli.degrading import degrade
from pigdm_jax.cli.evaluating import evaluate
from pigdm_jax.cli.failures import failures_answered
from pigdm_jax.cli.listing import info
from pigdm_jax.cli.priors import prior
from pigdm_jax.cli.reproducing import reproduce
from pigdm_jax.cli.restoring import restore
from pigdm_jax.cli.serving import serve_page
from pigdm_jax.cli.timing import bench
from pigdm_jax.cli.training import train

COMMANDS: dict[str, Callable[..., Any]] = {
    "restore": restore,
    "app": serve_page,
    "compile": compile_ahead,
    "degrade": degrade,
    "evaluate": evaluate,
    "info": info,
    "bench": bench,
    "convert": convert,
    "prior": prior,
    "reproduce": reproduce,
    "train": train,
}


def main() -> None:
    """Run the command; `pigdm_jax.cli.failures` says how it ends if it fails."""
    if sys.argv[1:] == ["--version"]:
        print(f"pigdm {version('pigdm-jax')}")
        return
    with failures_answered():
        check_arguments(sys.argv[1:], COMMANDS.values())
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="pigdm",
            description="Restore pictures with diffusion priors.",
        )


if __name__ == "__main__":
    main()
