"""Names of priors, and the folders that they stand for; does not import JAX."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "shipped"
METADATA = "prior.json"


def shipped_priors() -> list[str]:
    """Names of the priors that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{METADATA}"))


def find_prior(name_or_path: str | Path) -> Path:
    """The folder of a shipped prior, or the given folder.

    Raises:
      ValueError: if it is neither, with the list of names.
    """
    if str(name_or_path) in shipped_priors():
        return SHIPPED / str(name_or_path)
    path = Path(name_or_path).absolute()
    if not path.is_dir():
        raise ValueError(
            f"no prior {str(name_or_path)!r}: give a folder made by `pigdm convert`, "
            f"or one of {', '.join(shipped_priors())}"
        )
    return path
