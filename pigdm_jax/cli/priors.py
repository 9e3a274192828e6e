"""`pigdm prior`: list, get and remove the priors that are known by name."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from pigdm_jax.core.paths import check_readable

if TYPE_CHECKING:
    from pigdm_jax.weights.catalogue import CatalogueEntry


@dataclasses.dataclass(frozen=True)
class ListPriors:
    """List the priors that are known by name, and what is on the disk."""

    def run(self) -> None:
        """Print a table of all priors."""
        from pigdm_jax.cli.console import console
        from pigdm_jax.cli.prior_table import prior_table
        from pigdm_jax.weights.cache import weights_folder
        from pigdm_jax.weights.disk import readable

        table, used = prior_table()
        console.print(table, soft_wrap=False)
        console.print(f"{readable(used)} used in {weights_folder()}")


@dataclasses.dataclass(frozen=True)
class GetPrior:
    """Download a prior and convert it, or convert a file that you have.

    Attributes:
      name: a name that `pigdm prior list` shows, or hf:org/name for a UNet2DModel of
        diffusers at Hugging Face.
      source: the file, instead of a download; for a UNet2DModel the folder of its
        config.json and weights.
      keep: keep the downloaded file, too.
    """

    name: Positional[str]
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    keep: bool = False

    def run(self) -> None:
        """Obtain the prior, with a progress bar."""
        entry = _entry(self.name)
        if self.source is not None:
            check_readable(self.source)
            if self.keep:
                raise ValueError(
                    "--keep is for downloads; a file of yours always stays"
                )
        from pigdm_jax.cli.console import console
        from pigdm_jax.cli.prior_bar import PriorBar
        from pigdm_jax.weights.obtaining import obtain

        with PriorBar(self.name) as progress:
            folder = obtain(entry, self.source, keep=self.keep, progress=progress)
        console.print(f"{self.name} is in {folder}; restore with --prior {self.name}")


@dataclasses.dataclass(frozen=True)
class RemovePrior:
    """Remove a prior that was downloaded.

    Attributes:
      name: its name.
    """

    name: Positional[str]

    def run(self) -> None:
        """Remove the prior and print what that freed."""
        entry = _entry(self.name)
        from pigdm_jax.cli.console import console
        from pigdm_jax.weights.disk import readable
        from pigdm_jax.weights.obtaining import remove

        console.print(f"removed {self.name}: {readable(remove(entry))}")


Action = (
    Annotated[ListPriors, tyro.conf.subcommand("list")]
    | Annotated[GetPrior, tyro.conf.subcommand("get")]
    | Annotated[RemovePrior, tyro.conf.subcommand("remove")]
)


def prior(action: Annotated[Action, tyro.conf.arg(name="")]) -> None:
    """List, get and remove the priors that are known by name.

    Args:
      action: what to do.
    """
    action.run()


def _entry(name: str) -> "CatalogueEntry":
    """The entry of a name.

    Raises:
      ValueError: if there is none.
    """
    from pigdm_jax.weights.catalogue import find_entry
    from pigdm_jax.weights.names import shipped_priors

    if name in shipped_priors():
        raise ValueError(f"{name} comes with the package")
    entry = find_entry(name)
    if entry is None or entry.kind != "prior":
        raise ValueError(f"no prior {name!r}; `pigdm prior list` shows all")
    return entry
