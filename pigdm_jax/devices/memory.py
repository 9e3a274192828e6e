"""How many images fit, as the compiled program itself tells."""

import os
from collections.abc import Callable
from typing import NamedTuple

import jax

from pigdm_jax.core.types import ImageShape
from pigdm_jax.devices.batches import BatchProgram
from pigdm_jax.priors.base import Prior

# The rest is for fragments, for decoded pictures, for other programs.
USABLE = 0.85
# Images on a device beyond which a larger batch gains nothing to speak of, and below
# which a GPU or TPU is not busy and recomputing (a third more work) pays.
MOST = {"cpu": 8}
MOST_ELSEWHERE = 64
BUSY = {"cpu": 1}
BUSY_ELSEWHERE = 4


def device_memory(sharing: int = 1) -> int:
    """Bytes that a device has.

    Args:
      sharing: how many CPU devices are at work on the host's memory.
    """
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        return limit
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // sharing


def check_memory(prior: Prior, image_shape: ImageShape, sharing: int = 1) -> None:
    """Refuse a picture that cannot fit, before anything is compiled.

    Args:
      prior: the diffusion model.
      image_shape: of the restoration.
      sharing: how many CPU devices are at work on the host's memory.

    Raises:
      ValueError: if one evaluation of the prior would need more memory than there is.
    """
    memory = device_memory(sharing)
    needed = prior.memory(image_shape)
    if needed > memory:
        # A network's attention grows with the fourth power of the side.
        factor = (memory / needed) ** 0.25
        height, width = image_shape[:2]
        smaller = " x ".join(str(int(n * factor / 2)) for n in (height, width))
        raise ValueError(
            f"a picture of {height} x {width} pixels needs over {needed / 1e9:.0f} GB "
            f"with this prior, and there are {memory / 1e9:.0f} GB; restore it in "
            f"windows (--tile 256), or shrink it, for instance to {smaller}"
        )


class Fit(NamedTuple):
    """A batch that fits.

    Attributes:
      program: compiled for it.
      remark: what was chosen, for the user to read.
    """

    program: BatchProgram
    remark: str


def largest_batch(
    compile_for: Callable[[Prior, int], BatchProgram],
    prior: Prior,
    most: int,
    devices: int,
) -> Fit:
    """The largest batch whose program fits into memory, rematerialised if that pays.

    Args:
      compile_for: compiles for a prior and a number of images.
      prior: the diffusion model.
      most: no more images than this.
      devices: how many the program is for.

    Raises:
      ValueError: if a single image does not fit.
    """
    limit = USABLE * device_memory(devices)
    kind = jax.default_backend()
    most = min(most, devices * MOST.get(kind, MOST_ELSEWHERE))
    busy = min(most, devices * BUSY.get(kind, BUSY_ELSEWHERE))
    program, recomputes = _shrunk(compile_for, prior, most, limit), False
    small = program.device_bytes > limit or program.count < busy
    slim = prior.rematerialised() if small else prior
    if slim is not prior:
        other = _shrunk(compile_for, slim, most, limit)
        gains = other.count > program.count or program.device_bytes > limit
        if gains:
            program, recomputes = other, True
    needed, there = program.device_bytes / 1e9, limit / USABLE / 1e9
    if program.device_bytes > limit:
        raise ValueError(
            f"one picture needs {needed:.1f} GB of the {there:.1f} GB that a device "
            "has; restore it in windows (--tile 256)"
        )
    how = ", recomputing blocks to save memory" if recomputes else ""
    return Fit(
        program,
        f"batches of {program.count}{how}: {needed:.1f} of {there:.1f} GB a device",
    )


def _shrunk(
    compile_for: Callable[[Prior, int], BatchProgram],
    prior: Prior,
    count: int,
    limit: float,
) -> BatchProgram:
    """The program for `count` images, or for fewer until it fits or there is one left.

    Memory is a constant and a part for each image, so the guess is never too low by
    more than the constant's share.
    """
    while True:
        program = compile_for(prior, count)
        if program.device_bytes <= limit or count == 1:
            return program
        guess = int(count * limit / program.device_bytes)
        smaller = min(count, program.count) - 1
        count = max(1, min(guess, smaller))
