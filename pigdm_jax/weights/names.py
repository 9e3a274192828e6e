"""Names of priors and their folders; imports no JAX."""

import os
from pathlib import Path

from pigdm_jax.core.paths import check_path

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


def find_prior(name_or_path: str | Path) -> Path:
    """The folder of a shipped prior, or the given folder.

    Raises:
      TypeError: if it is neither a name nor a path.
      ValueError: if there is neither such a prior nor such a folder.
    """
    check_path(name_or_path)
    if str(name_or_path) in shipped_priors():
        return SHIPPED / str(name_or_path)
    path = Path(name_or_path).absolute()
    # An empty name would be the working folder.
    if not str(name_or_path).strip() or not os.path.isdir(path):
        raise ValueError(
            f"no prior {str(name_or_path)!r}: give a folder made by `pigdm convert`, "
            f"or one of {', '.join(shipped_priors())}"
        )
    return path
