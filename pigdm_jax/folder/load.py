"""From a picture's file to its problem, ready to be stacked into a batch."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from pigdm_jax.core.types import PRNGKey
from pigdm_jax.devices.batches import form
from pigdm_jax.folder.listing import FolderEntry, Shape
from pigdm_jax.folder.plan import Job
from pigdm_jax.operators import Operator
from pigdm_jax.pictures.cases import Case, Degradation
from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.grey_noise import GAIN
from pigdm_jax.pictures.opening import digest
from pigdm_jax.pictures.task import Task


class Loaded(NamedTuple):
    """A picture ready to be restored, or why it is not.

    Attributes:
      entry: where it is and goes.
      digest: of its file.
      files: digests of the files that the task names for it alone, by name;
        None if it names none.
      case: what to restore.
      key: of the picture; `sample_keys` makes those of its samples.
      size: height and width of its restoration, without padding.
      noise: its estimated level, for pixels from 0 to 1; None if it was given.
      notes: what is not as in its file, for the user to read.
      error: one sentence, if there is no case.
    """

    entry: FolderEntry
    digest: str = ""
    files: dict[str, str] | None = None
    case: Case | None = None
    key: PRNGKey | None = None
    size: tuple[int, int] = (0, 0)
    noise: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


def load_picture(
    job: Job, common: Degradation, shape: Shape, entry: FolderEntry
) -> Loaded:
    """Decode a picture and make its problem; errors are kept, not raised.

    Args:
      job: the whole job.
      common: the degradation that the batch's program was compiled for.
      shape: of the pictures of the batch.
      entry: the picture.
    """
    request, degradation = job.request, common
    row = Loaded(entry)
    try:
        row = row._replace(digest=digest(entry.path))
        if request.task.names_stem:
            row = row._replace(files=file_digests(request.task.of(entry.path.stem)))
        decoded = decode(entry.path)
        if decoded.size != entry.size or decoded.bits != shape.bits:
            raise ValueError(f"{entry.path} has changed its size")
        if request.own_operators:
            degradation = request.degradation(shape.size, entry.path, grey=shape.grey)
            _check_alike(degradation, common)
        shown = request.show(decoded, degradation)
        back = request.brings_back(shape.profiled, degradation)
        if shown.kept.converted and not back:
            raise ValueError(f"{entry.path} has changed its colour profile")
        pads = [(0, full - n) for full, n in zip(shape.size, entry.size, strict=True)]
        picture = np.pad(shown.picture, [*pads, (0, 0)], mode="symmetric")
        shown, row = shown._replace(picture=picture), row._replace(notes=shown.remarks)
        noise_key, key = request.keys(row.digest)
        case = request.case(shown, degradation, noise_key, entry.path)
    except ValueError as error:
        return row._replace(error=str(error))
    factor = 1 if request.simulate else request.task.enlargement
    height, width, _ = degradation.operator.image_shape
    size = min(entry.size[0] * factor, height), min(entry.size[1] * factor, width)
    noise = None
    if request.own_noise:
        noise = case.problem.noise_std / 2 / (GAIN if degradation.grey else 1)
    return row._replace(case=case, key=key, size=size, noise=noise)


def file_digests(task: Task) -> dict[str, str]:
    """Digests of the files that a task names, by name.

    Raises:
      ValueError: if one cannot be read.
    """
    return {name: digest(name) for name in task.files}


def _check_alike(degradation: Degradation, common: Degradation) -> None:
    """Refuse a degradation that the batch's program was not compiled for.

    Raises:
      ValueError: if kind, shape or noise differ.
    """
    if form(degradation.operator) != form(common.operator):
        raise ValueError(
            "this picture's operator differs in kind or size from the rest of its "
            "batch; restore it by itself"
        )
    if degradation.level != common.level:
        raise ValueError(
            "this file's rounding noise differs from the rest of its batch; set --noise"
        )


def stack(
    job: Job, rows: list[Loaded]
) -> tuple[Operator | None, PyTree, Array, Float[np.ndarray, " b"] | None]:
    """Operators, measurements, keys and noise levels of a batch; None if shared."""
    problems = [row.case.problem for row in rows if row.case is not None]
    stacked = partial(jax.tree.map, lambda *leaves: np.stack(leaves))
    operators = None
    if job.request.own_operators:
        operators = stacked(*(problem.operator for problem in problems))
    ys = stacked(*(problem.y for problem in problems))
    noise_stds = None
    if job.request.own_noise:
        noise_stds = np.array([problem.noise_std for problem in problems], np.float32)
    keys = jnp.stack([row.key for row in rows if row.key is not None])
    return operators, ys, keys, noise_stds


def conditions_of(
    job: Job, rows: list[Loaded]
) -> dict[str, Int[np.ndarray, " b"]] | None:
    """What `prior.condition` takes for each picture of a batch; None for nothing."""
    if job.labels is None:
        return None
    return {"label": np.array([job.label(row.entry) for row in rows], np.int32)}


def sample_keys(keys: Array, index: int) -> Array:
    """The key of one sample of each picture, as if it were restored alone."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, np.uint32(index))
