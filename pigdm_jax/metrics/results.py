"""Evaluations as JSON and CSV, and labels from a file."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from pigdm_jax.core.checks import given
from pigdm_jax.core.files import json_text, write_whole
from pigdm_jax.core.paths import check_readable
from pigdm_jax.metrics.plan import Evaluation


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as JSON: "summary", "per_image", "count" and "remarks".

    Args:
      path: of the file.
      evaluation: the values; infinite ones are the text "Infinity".

    Raises:
      ValueError: if it cannot be written.
    """
    summary = {
        name: {
            "value": value,
            "standard_error": error,
            "unit": evaluation.metrics[name].unit,
            "better": evaluation.metrics[name].better,
        }
        for name, (value, error) in evaluation.summary.items()
    }
    content: dict[str, Any] = {
        "count": evaluation.count,
        "summary": summary,
        "remarks": list(evaluation.remarks),
        "per_image": {name: dict(v) for name, v in evaluation.per_image.items()},
    }
    write_whole(path, json_text(content).encode())


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write the values of each picture as CSV, a line for each.

    Args:
      path: of the file.
      evaluation: the values.

    Raises:
      ValueError: if it cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["picture", *evaluation.per_image])
    for name in evaluation.pictures:
        values = [column[name] for column in evaluation.per_image.values()]
        writer.writerow([name, *map(repr, values)])
    write_whole(path, buffer.getvalue().encode(errors="surrogateescape"))


def read_labels(path: Path) -> dict[str, int]:
    """The classes of pictures from a JSON object, {"name": class}.

    Args:
      path: of the file; names are with or without suffix.

    Raises:
      ValueError: if it is missing or holds anything else.
    """
    check_readable(path)
    try:
        labels = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ValueError(f"{path} is no JSON file") from None
    if not isinstance(labels, dict):
        raise ValueError(
            f'{path} must hold an object of classes by name, {{"a.png": 3}}; got '
            f"{given(labels)}"
        )
    return labels
