"""The table of `pigdm prior list`; imports no JAX."""

import json

from rich.table import Table

from pigdm_jax.weights.cache import disk_use, is_here, obtained
from pigdm_jax.weights.catalogue import CatalogueEntry, catalogue, find_entry
from pigdm_jax.weights.disk import readable
from pigdm_jax.weights.names import METADATA, SHIPPED, shipped_priors


def prior_table() -> tuple[Table, int]:
    """A table of all priors, and the bytes on the disk of those that were obtained."""
    table = Table("prior", "here", "download", "pixels", "licence", "what it is")
    for name in shipped_priors():
        metadata = json.loads((SHIPPED / name / METADATA).read_text())
        side, text = str(metadata["trained_size"]), metadata["source"]["description"]
        table.add_row(name, "shipped", "", side, "the package's", text)
    known = {n: entry for n, entry in catalogue().items() if entry.kind == "prior"}
    others = [find_entry(name) for name in obtained() if name not in known]
    entries = [*known.values(), *(entry for entry in others if entry is not None)]
    used = 0
    for entry in entries:
        size = disk_use(entry)
        used += size
        table.add_row(
            entry.name,
            readable(size) if is_here(entry) else "",
            _download(entry),
            str(entry.trained_size or ""),
            entry.licence,
            entry.description,
        )
    return table, used


def _download(entry: CatalogueEntry) -> str:
    if not entry.downloadable:
        return "by hand"
    return readable(entry.size) if entry.size else "unknown"
