"""The program for pictures of one shape, and its batches."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import grain
import jax
import numpy as np

from pigdm_jax.devices.memory import Fit, check_memory, device_memory, largest_batch
from pigdm_jax.devices.meshes import make_mesh
from pigdm_jax.devices.programs import BatchProgram, blank_problem, compile_batch
from pigdm_jax.folder.listing import FolderEntry, Shape
from pigdm_jax.folder.load import (
    conditions_of,
    load_picture,
    sample_keys,
    stack,
)
from pigdm_jax.folder.plan import READERS, Job
from pigdm_jax.folder.write import Writer
from pigdm_jax.pictures.cases import Degradation
from pigdm_jax.pictures.results import Restored, finish_for
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.tiling import fit_prior

# Weights may take this fraction of the memory that each core has.
WEIGHTS_FRACTION = 0.1


class Group(NamedTuple):
    """Pictures of one shape, and what restores them.

    Attributes:
      program: for a batch of them.
      degradation: theirs, unless they have operators of their own.
      shape: what they have in common.
      entries: the pictures.
    """

    program: BatchProgram
    degradation: Degradation
    shape: Shape
    entries: list[FolderEntry]


def compile_group(job: Job, shape: Shape, entries: list[FolderEntry]) -> Group:
    """Compile the program that restores pictures of one shape.

    Raises:
      ValueError: if they cannot be restored.
    """
    degradation = job.request.degradation(shape.size, entries[0].path, grey=shape.grey)
    operator = degradation.operator
    prior = fit_prior(job.prior, operator.restored_shape, job.request.tile)
    choices = _devices(prior)
    converted = job.request.brings_back(shape.profiled, degradation)
    finish = finish_for(shape.bits, converted)
    for devices in choices:
        try:
            check_memory(prior, operator.restored_shape, len(devices))
            fit = _fitted(job, degradation, prior, len(entries), devices, finish)
            break
        except ValueError:
            if devices is choices[-1]:
                raise
    height, width, _ = operator.image_shape
    job.remark(f"{len(entries)} pictures to {height} x {width}: {fit.remark}")
    for remark in (*degradation.remarks, *job.request.tiling_remarks(prior)):
        job.remark(f"note: {remark}")
    return Group(fit.program, degradation, shape, entries)


def _fitted(
    job: Job,
    degradation: Degradation,
    prior: Prior,
    most: int,
    devices: list[jax.Device],
    finish: Callable[..., Restored],
) -> Fit:
    """The program for as many pictures as are wanted, or as fit."""
    mesh = make_mesh(devices=devices)
    problem = blank_problem(degradation.operator, degradation.level)
    conditions = None if job.labels is None else {"label": np.zeros((), np.int32)}

    def compile_for(prior: Prior, count: int) -> BatchProgram:
        return compile_batch(
            prior,
            problem,
            count,
            job.request.sampler_for(prior, problem),
            mesh=mesh,
            own_operators=job.request.own_operators,
            own_noise=degradation.estimates_noise,
            conditions=conditions,
            finish=finish,
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
    light = weights < WEIGHTS_FRACTION * device_memory(len(devices))
    return [devices, devices[:1]] if light else [devices[:1]]


def restore_group(
    job: Job,
    group: Group,
    finished: set[FolderEntry],
    writer: Writer,
    progress: Callable[[], None],
) -> None:
    """Restore batch after batch, each written while the next one is computed.

    A picture has the same place in the same batch however often the job is started
    again: finished and broken pictures leave gaps, which another picture fills.
    """
    size, entries = group.program.count, group.entries
    unfinished = [entry for entry in entries if entry not in finished]
    loaded = iter(
        grain.MapDataset.source(unfinished)
        .map(partial(load_picture, job, group.degradation, group.shape))
        .to_iter_dataset(grain.ReadOptions(min(READERS, 2 * size), 2 * size))
    )
    pending = None
    for first in range(0, len(entries), size):
        batch = entries[first : first + size]
        rows = {i: next(loaded) for i, e in enumerate(batch) if e not in finished}
        for row in rows.values():
            if row.error is not None:
                writer.fail(row.entry, row.error, row.digest)
        rows = {i: row for i, row in rows.items() if row.error is None}
        if not rows:
            continue
        spare = next(iter(rows.values()))
        filled = [rows.get(i, spare) for i in range(size)]
        operators, ys, keys, noise_stds = stack(job, filled)
        conditions = conditions_of(job, filled)
        started = time.perf_counter()
        samples = [
            group.program(operators, ys, sample_keys(keys, i), noise_stds, conditions)
            for i in range(job.samples)
        ]
        seconds = writer.time(samples, started)
        if pending is not None:
            writer.accept(*pending)
        progress()
        pending = rows, samples, seconds, str(group.program.sampler)
    if pending is not None:
        writer.accept(*pending)
