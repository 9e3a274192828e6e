"""The files of one picture's restorations, and its line of the journal."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from pigdm_jax.folder.listing import FolderEntry
from pigdm_jax.folder.load import Loaded
from pigdm_jax.metrics import default_metrics
from pigdm_jax.pictures.opening import digest
from pigdm_jax.pictures.outputs import with_suffix
from pigdm_jax.pictures.report import outputs_of, scores_of
from pigdm_jax.pictures.results import as_image
from pigdm_jax.pictures.writing import remarks_on, write_picture, write_restored


@dataclasses.dataclass(frozen=True)
class Record:
    """A picture whose restorations are written, but not yet under their names.

    Attributes:
      line: for the journal.
      files: the temporary file of each restoration, by its path in the output folder.
    """

    line: dict[str, Any]
    files: dict[str, Path]


def record(
    row: Loaded,
    samples: list[Shaped[np.ndarray, "H W 3"]],
    place: Path,
    fields: dict[str, Any],
) -> Record:
    """Write a picture's restorations to temporary files.

    Args:
      row: the picture.
      samples: its restorations, padding included.
      place: of the temporary files; suffixes are added.
      fields: what else the journal says of it.

    Raises:
      ValueError: if a file cannot be written.
    """
    height, width = row.size
    pictures = [as_image(pixels[:height, :width]) for pixels in samples]
    outputs, deviation = outputs_of(pictures)
    case = row.case
    assert case is not None  # or there would be no restorations
    files = {}
    for output in outputs:
        temporary = with_suffix(place, output.suffix)
        if output.is_restoration:
            write_restored(temporary, output.picture, case.kept)
        else:
            write_picture(temporary, output.picture)
        path = with_suffix(Path(row.entry.output), output.suffix)
        files[path.as_posix()] = temporary
    if case.original is not None:
        reference = case.original[:height, :width]
        compared = {o.suffix: o.picture for o in outputs if o.is_restoration}
        scores = scores_of(compared, reference, default_metrics())
        fields |= scores[""] if len(pictures) == 1 else {"scores": scores}
    if deviation is not None:
        fields["deviation"] = deviation._asdict()
    if row.noise is not None:
        fields["noise"] = row.noise
    notes = [*row.notes, *remarks_on(place, case.kept)]
    if notes:
        fields["notes"] = notes
    digests = {path: digest(temporary) for path, temporary in files.items()}
    fields |= {"outputs": digests, "height": height, "width": width}
    return Record(line(row, **fields), files)


def line(row: Loaded, error: str | None = None, **fields: Any) -> dict[str, Any]:
    """A line of the journal."""
    return {
        "input": row.entry.name,
        "digest": row.digest,
        "error": error,
        **fields,
        "time": datetime.now(UTC).isoformat(),
    }


def failure(entry: FolderEntry, reason: str, digest: str) -> dict[str, Any]:
    """The line of a picture that cannot be restored."""
    return line(Loaded(entry, digest), reason)
