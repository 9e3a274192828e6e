"""The journal of a folder job: a file of JSON for each batch, in OUT/manifest/.

A batch's file is written before its pictures get their names, so that whatever the
moment of an interruption, every picture that a job wrote is in its journal. Files are
written whole under another name and renamed; none is ever changed.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from pigdm_jax.core.files import json_text

FOLDER = "manifest"
FORMAT = 1
OLD = "manifest.jsonl"

# What `Journal.add` writes of a picture, at least; of one that failed, the first three.
FIELDS = {"input": str, "digest": str, "error": str | None}
RESTORED = {"outputs": dict, "files": dict}


class Journal:
    """What is known of the pictures of an output folder.

    Every process writes files of its own and reads those of all, so a job may resume
    with a different number of processes.

    Attributes:
      folder: where the files are.
      pictures: the latest line of each picture, with its settings, by its name.
      written: digests of the files that were written, by their paths in the output
        folder.
    """

    def __init__(self, out: Path, process: int = 0) -> None:
        """Read the existing files.

        Args:
          out: the output folder.
          process: index of this process.

        Raises:
          ValueError: if a file is damaged or not a journal's.
        """
        self.folder, self.process = out / FOLDER, process
        if os.path.lexists(out / OLD):
            raise ValueError(
                f"{out / OLD} is the journal of an older version, which this one does "
                "not continue; choose another --out"
            )
        self.pictures: dict[str, dict[str, Any]] = {}
        self.written: dict[str, set[str]] = {}
        files = [_numbered(file) for file in self.folder.glob("*.json")]
        for _, _, file in sorted(files):
            saved = _read(file)
            self._remember(saved)
        self._next = 1 + max((number for number, _, _ in files), default=0)

    def add(self, settings: dict[str, Any], pictures: list[dict[str, Any]]) -> None:
        """Write a batch's file, synced to disk.

        Args:
          settings: that all its pictures share.
          pictures: what to say of each; FIELDS, and RESTORED unless it failed.

        Raises:
          ValueError: if the file cannot be written.
        """
        if not pictures:
            return
        saved = {"format": FORMAT, "settings": settings, "pictures": pictures}
        path = self.folder / f"{self._next:06}-{self.process}.json"
        temporary = self.unfinished / path.name
        try:
            with open(temporary, "w", encoding="ascii") as file:
                file.write(json_text(saved))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror}") from None
        self._next += 1
        self._remember(saved)

    def _remember(self, saved: dict[str, Any]) -> None:
        for picture in saved["pictures"]:
            line = picture | {"settings": saved["settings"]}
            self.pictures[picture["input"]] = line
            for name, digest in picture.get("outputs", {}).items():
                self.written.setdefault(name, set()).add(digest)

    @property
    def unfinished(self) -> Path:
        """This process's folder for temporary files."""
        return self.folder / f"unfinished-{self.process}"

    def open(self, processes: int) -> None:
        """Remove what killed runs left, and make this process's temporary folder.

        Args:
          processes: number of processes of this job.

        Raises:
          ValueError: if the folder cannot be made.
        """
        for folder in self.folder.glob("unfinished-*"):
            index = folder.name.removeprefix("unfinished-")
            is_own = index == str(self.process)
            if is_own or not (index.isdecimal() and int(index) < processes):
                shutil.rmtree(folder, ignore_errors=True)
        try:
            self.unfinished.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot write to {self.folder}: {error}") from None

    def close(self) -> None:
        """Remove this process's temporary folder."""
        shutil.rmtree(self.unfinished, ignore_errors=True)


def _numbered(file: Path) -> tuple[int, int, Path]:
    """A file with its number and its process.

    Raises:
      ValueError: if its name is not a journal's.
    """
    match = re.fullmatch(r"(\d{1,12})-(\d{1,9})\.json", file.name)
    if match is None:
        raise _foreign(file)
    return int(match[1]), int(match[2]), file


def _read(file: Path) -> dict[str, Any]:
    """The contents of a file.

    Raises:
      ValueError: if it is damaged, or not a journal's.
    """
    try:
        saved = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise _foreign(file) from None
    if not _is_journal(saved):
        raise _foreign(file)
    return saved


def _is_journal(saved: Any) -> bool:
    return (
        isinstance(saved, dict)
        and saved.get("format") == FORMAT
        and isinstance(saved.get("settings"), dict)
        and isinstance(saved.get("pictures"), list)
        and all(map(_is_line, saved["pictures"]))
    )


def _is_line(line: Any) -> bool:
    if not isinstance(line, dict):
        return False
    fields: dict[str, Any] = FIELDS
    if line.get("error") is None:
        fields = FIELDS | RESTORED
    if not all(isinstance(line.get(name, 0), kind) for name, kind in fields.items()):
        return False
    values = (*line.get("outputs", {}).values(), *line.get("files", {}).values())
    return all(isinstance(value, str) for value in values)


def _foreign(file: Path) -> ValueError:
    return ValueError(
        f"{file} is damaged, or not a journal of this version of pigdm; choose another "
        "--out, or remove it and give --overwrite to restore its pictures again"
    )
