"""What the command shows while a prior is downloaded and converted."""

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from pigdm_jax.cli.console import console
from pigdm_jax.weights import downloads
from pigdm_jax.weights.catalogue import CatalogueEntry, find_entry
from pigdm_jax.weights.disk import readable


class PriorBar:
    """What a prior is and how far it is; nothing if there is nothing to be done.

    As a context manager it returns the function to pass as `progress`.

    Args:
      name: of the prior; None for other weights, which are not described.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._what: str | None = None
        self._bar = Progress(
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Elsewhere it would print an empty line.
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> downloads.Progress:
        return self._move

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def _move(self, what: str, done: int, total: int | None) -> None:
        if self._what is None:
            entry = None if self._name is None else find_entry(self._name)
            if entry is not None:
                console.print(_described(entry))
            self._bar.start()
        if what != self._what:
            self._what = what
            console.print(f"downloading {what}" if "://" in what else what)
        self._bar.update(self._task, completed=done, total=total)


def _described(entry: CatalogueEntry) -> str:
    """An entry in a line."""
    side, size = entry.trained_size, entry.size
    parts = [
        entry.description,
        f"{side} x {side} pixels" if side else "",
        readable(size) if size else "size unknown",
        f"licence: {entry.licence}, see {entry.home}",
    ]
    return f"{entry.name}: {', '.join(filter(None, parts))}"
