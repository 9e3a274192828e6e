"""The manifest of a folder job: a line of JSON for each picture."""

import json
import os
from pathlib import Path
from typing import Any

NAME = "manifest"


class Manifest:
    """A journal of finished and failed pictures, from which a stopped job resumes.

    Lines are synced to disk batch by batch. Every process writes a file of its own and
    reads those of all, so a job may resume with a different number of processes.
    """

    def __init__(self, out: Path, process: int = 0) -> None:
        """Read the existing lines; one that was cut off by a power loss is dropped.

        Args:
          out: the output folder.
          process: index of this process.
        """
        self.path = out / (
            f"{NAME}.jsonl" if not process else f"{NAME}-{process}.jsonl"
        )
        self.last: dict[str, dict[str, Any]] = {}
        for file in sorted(out.glob(f"{NAME}*.jsonl")):
            for line in _whole_lines(file):
                self.last[line["input"]] = line

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse to mix restorations with different settings in one folder.

        Raises:
          ValueError: naming the setting that differs.
        """
        for line in self.last.values():
            for name, value in settings.items():
                if line["settings"].get(name) != value:
                    raise ValueError(
                        f"{self.path.parent} contains restorations with {name} "
                        f"{line['settings'].get(name)}, not {value}; use the same "
                        "flags to continue, or another --out"
                    )

    def finished(self, name: str, output: Path) -> str | None:
        """The digest of the restored picture's file; None if it is not finished.

        Args:
          name: of the picture.
          output: the file of its restoration, which must have the recorded size.
        """
        line = self.last.get(name)
        if line is None or line["error"] is not None:
            return None
        try:
            complete = output.stat().st_size == line["bytes"]
        except OSError:
            return None
        return line["digest"] if complete else None

    def __enter__(self) -> "Manifest":
        self._file = open(self.path, "ab")
        if self._file.tell():
            self._file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Append lines and sync them to disk."""
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
