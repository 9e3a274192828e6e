"""The journal of a folder's restorations: one line of JSON for each picture."""

import json
import os
from pathlib import Path
from typing import Any

NAME = "manifest"


class Manifest:
    """Lines are appended and on disk before the next batch is begun.

    Every process writes a file of its own and reads them all, so that a job may go on
    with more or fewer processes than it was begun with.
    """

    def __init__(self, out: Path, process: int = 0) -> None:
        """Read what there is; a line that power loss cut off is dropped.

        Args:
          out: the output folder.
          process: which one this is.
        """
        self.path = out / (
            f"{NAME}.jsonl" if not process else f"{NAME}-{process}.jsonl"
        )
        self.last: dict[str, dict[str, Any]] = {}
        for file in sorted(out.glob(f"{NAME}*.jsonl")):
            for line in _whole_lines(file):
                self.last[line["input"]] = line

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse to mix restorations of different settings in one folder.

        Raises:
          ValueError: that tells which setting differs.
        """
        for line in self.last.values():
            for name, value in settings.items():
                if line["settings"].get(name) != value:
                    raise ValueError(
                        f"{self.path.parent} holds restorations with {name} "
                        f"{line['settings'].get(name)}, not {value}; give the same "
                        "flags to go on, or another --out"
                    )

    def finished(self, name: str, output: Path) -> str | None:
        """The digest of the input whose restoration is there, whole; else None."""
        line = self.last.get(name)
        if line is None or line["error"] is not None:
            return None
        try:
            there = output.stat().st_size == line["bytes"]
        except OSError:
            return None
        return line["digest"] if there else None

    def __enter__(self) -> "Manifest":
        self._file = open(self.path, "ab")
        if self._file.tell():
            self._file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Append lines; they are on disk when this returns."""
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.last |= {line["input"]: line for line in lines}


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    lines = []
    for text in file.read_bytes().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
