"""How many images fit, as the compiled program itself tells."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from pigdm_jax.parallel import BatchProgram
from pigdm_jax.photos import device_memory
from pigdm_jax.prior import Prior

# The rest is for fragments, for decoded pictures, for other programs.
USABLE = 0.85
# Images on a device beyond which a larger batch gains nothing to speak of, and below
# which a GPU or TPU is not busy and recomputing (a third more work) pays.
MOST = {"cpu": 8}
MOST_ELSEWHERE = 64
BUSY = {"cpu": 1}
BUSY_ELSEWHERE = 4


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
