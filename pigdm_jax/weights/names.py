"""Names of priors and their folders; imports no JAX."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pigdm_jax.core.paths import check_path

if TYPE_CHECKING:
    from pigdm_jax.weights import catalogue, downloads

SHIPPED = Path(__file__).parent / "shipped"
METADATA = "prior.json"


def shipped_priors() -> list[str]:
    """Names of the priors that are part of the package.

    Examples:
      >>> import pigdm_jax as pj
      >>> pj.shipped_priors()
      ['photos-64']
    """
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{METADATA}"))


def find_prior(
    name_or_path: str | Path, progress: "downloads.Progress | None" = None
) -> Path:
    """The folder of a prior: shipped, of the catalogue, or given.

    A prior of the catalogue is downloaded and converted on first use.

    Args:
      name_or_path: a shipped prior's name, a name of the catalogue, "hf:org/name", or a
        folder, in this order.
      progress: called with what is being done, and the bytes that are done and to be
        done.

    Raises:
      TypeError: if it is neither a name nor a path.
      ValueError: if there is no such prior, or it cannot be obtained.
    """
    entry = check_prior(name_or_path)
    if entry is not None:
        from pigdm_jax.weights.obtaining import obtain

        return obtain(entry, progress=progress)
    name = str(name_or_path)
    return SHIPPED / name if name in shipped_priors() else Path(name).absolute()


def check_prior(name_or_path: str | Path) -> "catalogue.CatalogueEntry | None":
    """Refuse what is no prior, without downloading anything.

    Args:
      name_or_path: as `find_prior` takes it.

    Returns:
      The entry of the catalogue that has the name; None if none has.

    Raises:
      TypeError: if it is neither a name nor a path.
      ValueError: if there is no such prior, or its file must be given by hand.
    """
    check_path(name_or_path)
    name = str(name_or_path)
    if name in shipped_priors():
        return None
    from pigdm_jax.weights.catalogue import find_entry
    from pigdm_jax.weights.obtaining import check_obtainable

    entry = find_entry(name)
    if entry is not None and entry.kind == "prior":
        check_obtainable(entry)
        return entry
    # An empty name would be the working folder.
    if not name.strip() or not os.path.isdir(Path(name).absolute()):
        raise ValueError(
            f"no prior {name!r}: give a folder made by `pigdm convert`, one of "
            f"{', '.join(shipped_priors())}, or a name that `pigdm prior list` shows"
        )
    return None
