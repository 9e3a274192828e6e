"""Priors of the catalogue: a table of them, and a download that is asked for."""

import html
import queue
import threading
from collections.abc import Iterator
from typing import Any

from pigdm_jax.app.running import reason
from pigdm_jax.app.showing import alert, note
from pigdm_jax.weights.cache import is_here
from pigdm_jax.weights.catalogue import CatalogueEntry, catalogue
from pigdm_jax.weights.disk import readable


def downloadable() -> list[tuple[str, str]]:
    """(text, name) of the priors that can be downloaded and are not here."""
    return [
        (f"{entry.name} ({_size(entry)}, {entry.licence})", entry.name)
        for entry in catalogue().values()
        if entry.kind == "prior" and entry.downloadable and not is_here(entry)
    ]


def catalogue_table() -> str:
    """The priors of the catalogue as an HTML table."""
    rows = ""
    for entry in catalogue().values():
        if entry.kind != "prior":
            continue
        cells = (_size(entry), str(entry.trained_size or ""), entry.licence)
        rows += (
            f"<tr><th scope='row'>{html.escape(entry.name)}</th>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + f"<td>{html.escape(entry.description)}</td></tr>"
        )
    head = ("prior", "size", "pixels", "licence", "what it is")
    top = "".join(f"<th scope='col'>{text}</th>" for text in head)
    return f"<table class='pigdm-scores'><tr>{top}</tr>{rows}</table>"


def _size(entry: CatalogueEntry) -> str:
    if not entry.downloadable:
        return "by hand: pigdm prior get"
    return readable(entry.size) if entry.size else "size unknown"


def download_prior(name: Any) -> Iterator[tuple[str, bool]]:
    """Download, verify and convert a prior of the catalogue.

    Args:
      name: from the page; only names of `downloadable` are taken.

    Yields:
      What the page shows, as HTML, and whether the prior can be used now.
    """
    from pigdm_jax.weights.obtaining import obtain

    if name not in [known for _, known in downloadable()]:
        yield note("Choose a prior of the list."), False
        return
    entry = catalogue()[name]
    reports: queue.Queue[tuple[str, bool] | None] = queue.Queue()

    def progress(what: str, done: int, total: int | None) -> None:
        share = f", {readable(done)}" if done else ""
        whole = f" of {readable(total)}" if done and total else ""
        reports.put((note(f"{what}{share}{whole}"), False))

    def work() -> None:
        try:
            obtain(entry, progress=progress)
            reports.put((note(f"{name} is ready."), True))
        except Exception as error:
            reports.put((alert(reason(error)), False))
        reports.put(None)

    threading.Thread(target=work, daemon=True).start()
    while (report := reports.get()) is not None:
        while reports.qsize() > 1:  # only the newest is worth showing
            newer = reports.get()
            if newer is None:
                break
            report = newer
        yield report
