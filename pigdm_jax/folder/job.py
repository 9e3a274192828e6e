"""Restoring a folder: decode, compute and write at once, and lose nothing."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from pigdm_jax.devices.batches import BatchProgram, blank_problem, compile_batch, form
from pigdm_jax.devices.memory import (
    Fit,
    check_memory,
    device_memory,
    largest_batch,
)
from pigdm_jax.devices.meshes import make_mesh
from pigdm_jax.folder.listing import Entry, Listing, Shape, list_folder, share_of
from pigdm_jax.folder.manifest import Manifest
from pigdm_jax.folder.results import Loaded, Results
from pigdm_jax.operators import Operator
from pigdm_jax.pictures.files import digest, read_image
from pigdm_jax.pictures.photos import Damage, settled
from pigdm_jax.pictures.request import Request
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior
from pigdm_jax.restoration import check_request

READERS = 8
# Restored photos as PNG files take at least this share of their pixels' bytes.
PNG_SHARE = 0.4
# Weights may take this much of the memory that each core has.
WEIGHTS_SHARE = 0.1


class Summary(NamedTuple):
    """What this process did.

    Attributes:
      restored: pictures written.
      skipped: pictures found finished.
      failed: pictures with an error line.
      compilations: programs compiled.
      compile_seconds: spent on that.
      seconds: the whole run's, without compiling.
      device_seconds: of these, while a batch was being computed.
    """

    restored: int
    skipped: int
    failed: int
    compilations: int
    compile_seconds: float
    seconds: float
    device_seconds: float


@dataclasses.dataclass(frozen=True)
class Job:
    """A folder to restore.

    Attributes:
      request: what to do to every picture.
      prior: the diffusion model.
      folder: the pictures.
      out: where restorations and the manifest go.
      batch: pictures restored at once by this process; None for as many as fit.
      pad: enlarge pictures by reflection to sides that are multiples of this and crop
        their restorations, so that fewer shapes have to be compiled; 1 for not at all.
      tell: called with remarks for the user.
      report: called with (done, all) pictures of this process, as it goes.
    """

    request: Request
    prior: Prior
    folder: Path
    out: Path
    batch: int | None = None
    pad: int = 1
    tell: Callable[[str], None] = print
    report: Callable[[int, int], None] = lambda done, count: None


def run(job: Job) -> Summary:
    """Restore this process's share of what is not finished.

    Raises:
      ValueError: in one sentence, if flags, folder or output make no sense, before
        anything is computed; or when an output cannot be written.
    """
    began = time.perf_counter()
    listing = list_checked(job)
    _check_output(job, listing)
    settings = job.request.settings() | {"pad": job.pad}
    manifest = Manifest(job.out, jax.process_index())
    manifest.check_settings(settings)
    mine = share_of(listing, jax.process_index(), jax.process_count())
    _remove_halves(job, mine)
    finished = _finished(job, mine, manifest)
    count = sum(map(len, mine.groups.values()))
    compilations, compile_seconds = 0, 0.0
    with manifest:
        results = Results(job.out, manifest, settings, job.tell)
        try:
            for entry, why in mine.broken.items():
                results.fail(entry, why)
            for shape, entries in mine.groups.items():
                if finished.issuperset(entries):
                    continue
                before = time.perf_counter()
                try:
                    program, damage = compile_group(job, shape, entries)
                except ValueError as error:
                    for entry in entries:
                        if entry not in finished:
                            results.fail(entry, str(error))
                    continue
                finally:
                    compile_seconds += time.perf_counter() - before
                compilations += 1
                _restore_group(
                    job, program, damage, shape, entries, finished, results, count
                )
        finally:
            results.close()
    return Summary(
        results.written,
        len(finished),
        results.failed,
        compilations,
        compile_seconds,
        time.perf_counter() - began - compile_seconds,
        results.device_seconds,
    )


def list_checked(job: Job) -> Listing:
    """The folder's pictures, after a look at every flag.

    Raises:
      ValueError: if a flag makes no sense, there is no picture, or the task suits none.
    """
    for name, value in (("batch", job.batch), ("pad", job.pad)):
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
        job.folder, job.out, reads_header=job.request.reads_header, pad=job.pad
    )
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


def _check_group(job: Job, shape: Shape, entries: Sequence[Entry]) -> None:
    """Refuse what `restore` would refuse.

    Raises:
      ValueError: in one sentence.
    """
    operator, noise_std, _ = job.request.damage(shape.size, entries[0].path)
    prior = fit_prior(job.prior, operator.image_shape, job.request.tile)
    problem = blank_problem(operator, noise_std)
    check_request(prior, problem, job.request.sampler_for(prior, problem))


def compile_group(
    job: Job, shape: Shape, entries: Sequence[Entry]
) -> tuple[BatchProgram, Damage]:
    """The program that restores pictures of one shape, and their operator.

    Raises:
      ValueError: if they cannot be restored.
    """
    damage = job.request.damage(shape.size, entries[0].path)
    image_shape = damage.operator.image_shape
    prior = fit_prior(job.prior, image_shape, job.request.tile)
    choices = _devices(prior)
    for devices in choices:
        try:
            check_memory(prior, image_shape, len(devices))
            fit = _fitted(job, damage, prior, len(entries), devices)
            break
        except ValueError:
            if devices is choices[-1]:
                raise
    height, width, _ = image_shape
    job.tell(f"{len(entries)} pictures to {height} x {width}: {fit.remark}")
    for remark in damage.remarks:
        job.tell(f"note: {remark}")
    return fit.program, damage


def _fitted(
    job: Job, damage: Damage, prior: Prior, most: int, devices: list[jax.Device]
) -> Fit:
    """The program for as many pictures as are wanted, or as fit."""
    mesh = make_mesh(devices=devices)

    problem = blank_problem(damage.operator, damage.noise_std)

    def compile_for(prior: Prior, count: int) -> BatchProgram:
        return compile_batch(
            prior,
            problem,
            count,
            job.request.sampler_for(prior, problem),
            mesh=mesh,
            own_operators=job.request.own_operators,
            finish=settled,
        )

    if job.batch is None:
        return largest_batch(compile_for, prior, most, len(devices))
    program = compile_for(prior, min(job.batch, most))
    return Fit(program, f"batches of {program.count}")


def _devices(prior: Prior) -> list[list[jax.Device]]:
    """This process's devices; of a CPU's also one alone, if they do not fit together.

    Each has a copy of the weights.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu" or len(devices) == 1:
        return [devices]
    weights = sum(np.size(leaf) * 4 for leaf in jax.tree.leaves(prior))
    light = weights < WEIGHTS_SHARE * device_memory(len(devices))
    return [devices, devices[:1]] if light else [devices[:1]]


def _restore_group(
    job: Job,
    program: BatchProgram,
    damage: Damage,
    shape: Shape,
    entries: list[Entry],
    finished: set[Entry],
    results: Results,
    count: int,
) -> None:
    """Batch after batch, each written while the next one is computed.

    A picture has the same place in the same batch however often the job is begun again:
    finished and broken pictures leave gaps, which any other picture fills.
    """
    size = program.count
    chunks = [entries[i : i + size] for i in range(0, len(entries), size)]
    todo = [entry for entry in entries if entry not in finished]
    ahead = 2 * size
    loaded = iter(
        grain.MapDataset.source(todo)
        .map(partial(_load, job, damage, shape))
        .to_iter_dataset(grain.ReadOptions(min(READERS, ahead), ahead))
    )
    previous = None
    for chunk in chunks:
        places = [i for i, entry in enumerate(chunk) if entry not in finished]
        rows = [next(loaded) for _ in places]
        good = {
            place: row
            for place, row in zip(places, rows, strict=True)
            if row.error is None
        }
        for row in rows:
            if row.error is not None:
                results.fail(row.entry, row.error, row.digest)
        if not good:
            continue
        spare = next(iter(good.values()))
        inputs = _stacked(job, [good.get(i, spare) for i in range(size)])
        started = time.perf_counter()
        made = program(*inputs)
        took = results.watched(made, started)
        under_way = good, made, took, str(program.sampler)
        if previous is not None:
            results.accept(*previous)
        job.report(results.written + results.failed + len(finished), count)
        previous = under_way
    if previous is not None:
        results.accept(*previous)


def _stacked(job: Job, rows: list[Loaded]) -> tuple[Operator | None, PyTree, Array]:
    """Operators, unless they are shared, measurements and keys of a batch."""
    problems = [row.case.problem for row in rows]
    stack = partial(jax.tree.map, lambda *leaves: np.stack(leaves))
    operators = None
    if job.request.own_operators:
        operators = stack(*(problem.operator for problem in problems))
    ys = stack(*(problem.y for problem in problems))
    return operators, ys, jnp.stack([row.key for row in rows])


def _load(job: Job, damage: Damage, shape: Shape, entry: Entry) -> Loaded:
    """Decode a picture."""
    request, shared = job.request, damage
    row = Loaded(entry)
    try:
        row = row._replace(digest=digest(entry.path))
        picture = read_image(entry.path)
        if picture.shape[:2] != entry.size:
            raise ValueError(f"{entry.path} has changed its size")
        pads = [(0, full - n) for full, n in zip(shape.size, entry.size, strict=True)]
        picture = np.pad(picture, [*pads, (0, 0)], mode="symmetric")
        if request.own_operators:
            damage = request.damage(shape.size, entry.path)
            _check_alike(damage, shared)
        noise_key, key = request.keys(row.digest)
        case = request.case(picture, damage, noise_key, entry.path)
    except ValueError as error:
        return row._replace(error=str(error))
    factor = 1 if request.simulate else request.task.enlargement
    whole = damage.operator.image_shape
    size = tuple(
        min(n * factor, most) for n, most in zip(entry.size, whole[:2], strict=True)
    )
    # Sample 0 of the picture, as if it were restored alone.
    key = jax.random.fold_in(key, 0)
    return row._replace(case=case, key=key, size=size)


def _check_alike(damage: Damage, other: Damage) -> None:
    """Refuse an operator that the batch's program does not take.

    Raises:
      ValueError: if kind, shape or noise differ from the others'.
    """
    if form(damage.operator) != form(other.operator):
        raise ValueError(
            "its operator is of another kind or size than the other pictures'; restore "
            "it by itself"
        )
    if damage.noise_std != other.noise_std:
        raise ValueError(
            "its file's rounding counts otherwise than the others'; give --noise"
        )


def _finished(job: Job, mine: Listing, manifest: Manifest) -> set[Entry]:
    """The pictures whose restorations are there and whose files are still the same."""
    claims = {}
    for entries in mine.groups.values():
        for entry in entries:
            known = manifest.finished(entry.name, job.out / entry.output)
            if known is not None:
                claims[entry] = known
    with ThreadPoolExecutor(READERS) as threads:
        digests = threads.map(lambda entry: digest(entry.path), claims)
        return {
            entry
            for (entry, known), now in zip(claims.items(), digests, strict=True)
            if known == now
        }


def _check_output(job: Job, listing: Listing) -> None:
    """Say what can be known of a full or locked disk before computing.

    Raises:
      ValueError: if nothing can be written there, or not as much.
    """
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        probe = job.out / f".probe-{jax.process_index()}"
        probe.write_bytes(b"0")
        probe.unlink()
        free = shutil.disk_usage(job.out).free
    except OSError as error:
        raise ValueError(f"cannot write to {job.out}: {error.strerror}") from None
    factor = 1 if job.request.simulate else job.request.task.enlargement
    pixels = sum(
        entry.size[0] * entry.size[1] * factor**2
        for entries in listing.groups.values()
        for entry in entries
        if not (job.out / entry.output).exists()
    )
    needed = 3 * pixels * PNG_SHARE
    if needed > free:
        raise ValueError(
            f"the restorations need {needed / 1e6:.0f} MB or more, {job.out} has "
            f"{free / 1e6:.0f} MB left"
        )


def _remove_halves(job: Job, mine: Listing) -> None:
    """Remove the temporary files of a run that was killed."""
    own = {
        job.out / entry.output for entries in mine.groups.values() for entry in entries
    }
    for half in job.out.rglob(".*.tmp.png"):
        stem = half.name.removeprefix(".").rsplit(".", 3)[0]
        if half.with_name(f"{stem}.png") in own:
            half.unlink(missing_ok=True)
