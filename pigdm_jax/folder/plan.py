"""What is to be done: the job, its checked listing, and what is finished already."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from pigdm_jax.devices.programs import blank_problem
from pigdm_jax.folder.listing import FolderEntry, Listing, Shape, list_folder
from pigdm_jax.pictures.outputs import suffixes, with_suffix
from pigdm_jax.pictures.request import Request
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior
from pigdm_jax.restoration import check_request
from pigdm_jax.weights.metadata import content_digest

READERS = 8
# Restored photos as PNG files take at least this fraction of their pixels' bytes.
PNG_FRACTION = 0.4


@dataclasses.dataclass(frozen=True)
class Job:
    """A folder to restore.

    Attributes:
      request: what to do to every picture.
      prior: the diffusion model.
      folder: the pictures.
      out: where restorations and the journal go.
      batch: pictures restored at once by this process; None for as many as fit.
      pad: enlarge pictures by reflection to sides that are multiples of this and crop
        their restorations, so that fewer shapes have to be compiled; 1 for none.
      recursive: restore pictures in sub-folders, too.
      samples: restorations of each picture; several have a mean and a deviation.
      overwrite: replace files that exist and that this job did not write, and restore
        pictures again that were restored with other settings.
      labels: the class of each picture, by its name; None for the prior's own label.
      remark: called with remarks for the user.
      progress: called with this process's numbers of finished and of all pictures.
    """

    request: Request
    prior: Prior
    folder: Path
    out: Path
    batch: int | None = None
    pad: int = 1
    recursive: bool = False
    samples: int = 1
    overwrite: bool = False
    labels: Mapping[str, int] | None = None
    remark: Callable[[str], None] = print
    progress: Callable[[int, int], None] = lambda done, count: None

    def outputs(self, entry: FolderEntry) -> list[str]:
        """Paths of a picture's restorations, relative to the output folder."""
        output = Path(entry.output)
        return [with_suffix(output, x).as_posix() for x in suffixes(self.samples)]

    def label(self, entry: FolderEntry) -> int | None:
        """The class of a picture; None for the prior's own label."""
        return None if self.labels is None else self.labels[entry.name]

    def settings(self) -> dict[str, Any]:
        """What decides the pixels of all pictures, as plain values for the journal."""
        return self.request.settings() | {
            "pad": self.pad,
            "samples": self.samples,
            "prior_digest": content_digest(self.request.prior),
            "version": version("pigdm-jax"),
        }


def list_checked(job: Job) -> Listing:
    """The folder's pictures, after a look at every flag.

    Raises:
      ValueError: if a flag makes no sense, there is no picture, or the task suits none.
    """
    given = {"batch": job.batch, "pad": job.pad, "samples": job.samples}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if job.pad > 1 and job.request.own_operators:
        raise ValueError(
            "--pad is for operators that depend on the picture's size alone, not for "
            "JPEG headers or files of masks"
        )
    if job.out.resolve() == job.folder.resolve():
        raise ValueError(f"--out {job.out} is the input; choose another folder")
    listing = list_folder(
        job.folder,
        job.out,
        recursive=job.recursive,
        reads_header=job.request.reads_header,
        splits_grey=job.request.splits_grey,
        pad=job.pad,
    )
    if listing.left_out and not jax.process_index():
        job.remark(f"note: {listing.left_out}")
    errors = []
    for shape, entries in listing.groups.items():
        try:
            _check_group(job, shape, entries)
            return listing
        except ValueError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return listing


def _check_group(job: Job, shape: Shape, entries: Sequence[FolderEntry]) -> None:
    """Refuse what `restore` would refuse.

    Raises:
      ValueError: in one sentence.
    """
    degradation = job.request.degradation(shape.size, entries[0].path, grey=shape.grey)
    operator = degradation.operator
    prior = fit_prior(job.prior, operator.restored_shape, job.request.tile)
    problem = blank_problem(operator, degradation.level)
    check_request(prior, problem, job.request.sampler_for(prior, problem))


def check_space(job: Job, listing: Listing) -> None:
    """Refuse a disk that is too small for the restorations that are not there yet.

    Raises:
      ValueError: if it has less space than they need at least.
    """
    free = shutil.disk_usage(job.out).free
    factor = 1 if job.request.simulate else job.request.task.enlargement
    size = sum(
        entry.size[0] * entry.size[1] * entry.depth * factor**2
        for entries in listing.groups.values()
        for entry in entries
        for path in job.outputs(entry)
        if not (job.out / path).exists()
    )
    needed = size * PNG_FRACTION
    if needed > free:
        raise ValueError(
            f"the restorations need {needed / 1e6:.0f} MB or more, {job.out} has "
            f"{free / 1e6:.0f} MB left"
        )
