"""Pictures read ahead, in batches of one size, on the devices of this process."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from pigdm_jax.devices.meshes import BATCH
from pigdm_jax.metrics.pairing import READERS, EvaluationRow
from pigdm_jax.pictures.reading import read_image

AHEAD = 2  # batches that are read while one is computed


class Batch(NamedTuple):
    """Pictures of one size.

    Attributes:
      names: of the pictures.
      columns: arrays by "image", "reference" and "label", with a first axis that is
        filled up with copies of the last picture.
    """

    names: list[str]
    columns: Mapping[str, Array]


class Shardings(NamedTuple):
    """Where arrays lie on the devices of this process.

    Attributes:
      batched: a part of the first axis on each device.
      copied: the whole array on each.
    """

    batched: NamedSharding
    copied: NamedSharding


def shardings() -> Shardings:
    """Where batches and networks lie."""
    mesh = Mesh(np.array(jax.local_devices()), BATCH)
    batched = NamedSharding(mesh, PartitionSpec(BATCH))
    return Shardings(batched, NamedSharding(mesh, PartitionSpec()))


def batches(
    rows: Sequence[EvaluationRow], size: int, columns: Collection[str]
) -> Iterator[Batch]:
    """Read pictures in batches of one picture size, sharded over the devices.

    Args:
      rows: the pictures.
      size: pictures of a batch.
      columns: "image", "reference" and "label", as far as they are needed.

    Raises:
      ValueError: if a picture cannot be read, or its size has changed.
    """
    sharding = shardings().batched
    groups: dict[tuple[int, int], list[EvaluationRow]] = {}
    for row in rows:
        groups.setdefault(row.size, []).append(row)
    for group in groups.values():
        full = min(size, len(group))
        full += -full % len(sharding.device_set)
        chunks = [group[i : i + size] for i in range(0, len(group), size)]
        for chunk, read in _read_ahead(chunks, columns):
            filled = read + read[-1:] * (full - len(read))
            stacked = {
                name: np.stack([row[name] for row in filled]) for name in columns
            }
            yield Batch([row.name for row in chunk], jax.device_put(stacked, sharding))


def _read_ahead(
    chunks: Iterable[list[EvaluationRow]], columns: Collection[str]
) -> Iterator[tuple[list[EvaluationRow], list[dict[str, Any]]]]:
    """Each chunk with its pictures, while threads read the next ones."""
    ahead: deque[tuple[list[EvaluationRow], list[Future]]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        for chunk in chunks:
            ahead.append(
                (chunk, [readers.submit(_read, row, columns) for row in chunk])
            )
            if len(ahead) > AHEAD:
                yield _finished(*ahead.popleft())
        while ahead:
            yield _finished(*ahead.popleft())


def _finished(
    chunk: list[EvaluationRow], futures: list[Future]
) -> tuple[list[EvaluationRow], list[dict[str, Any]]]:
    return chunk, [future.result() for future in futures]


def _read(row: EvaluationRow, columns: Collection[str]) -> dict[str, Any]:
    """What columns hold of one picture.

    Raises:
      ValueError: if it cannot be read, or its size has changed.
    """
    found: dict[str, Any] = {}
    for name, path in (("image", row.path), ("reference", row.reference)):
        if name in columns and path is not None:
            found[name] = read_image(path)
            if found[name].shape[:2] != row.size:
                raise ValueError(f"{path} has changed its size")
    if "label" in columns:
        found["label"] = np.int32(-1 if row.label is None else row.label)
    return found
