"""Memory checks, and the largest batch that fits by XLA's own analysis."""

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from pigdm_jax.core.types import ImageShape
from pigdm_jax.devices.programs import BatchProgram
from pigdm_jax.priors.base import Prior

# The rest is for fragmentation, decoded pictures and other programs.
USABLE = 0.85
# Images on a device: above MOST a larger batch is hardly faster; below BUSY the device
# is not fully used, and recomputing activations (a third more work) for a larger batch
# pays.
MOST = {"cpu": 8}
MOST_ELSEWHERE = 64
BUSY = {"cpu": 1}
BUSY_ELSEWHERE = 4


def device_memory(sharing: int = 1) -> int:
    """Memory of a device in bytes.

    Args:
      sharing: number of CPU devices among which the host's memory is divided.
    """
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return _host_memory() // sharing if limit is None else limit


def _host_memory() -> int:
    """The host's memory, or what a container may use of it, in bytes."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return physical


def host_memory_taken() -> int:
    """Memory that this process takes, in bytes.

    What the compiler freed is returned to the system first: 1 GB after a large program.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, AttributeError):  # not Linux with glibc
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_memory(prior: Prior, image_shape: ImageShape, sharing: int = 1) -> None:
    """Refuse a picture that needs too much memory, before anything is compiled.

    Args:
      prior: the diffusion model.
      image_shape: of the restoration.
      sharing: number of CPU devices among which the host's memory is divided.

    Raises:
      ValueError: if one evaluation of the prior needs more memory than the device has.
    """
    memory = device_memory(sharing)
    needed = prior.memory(image_shape)
    if needed > memory:
        # The memory of attention grows with the fourth power of the side.
        factor = (memory / needed) ** 0.25
        height, width = image_shape[:2]
        smaller = " x ".join(str(int(n * factor / 2)) for n in (height, width))
        raise ValueError(
            f"a picture of {height} x {width} pixels needs over {needed / 1e9:.0f} GB "
            f"with this prior, and the device has {memory / 1e9:.0f} GB; restore it in "
            f"windows (--tile 256), or shrink it, for instance to {smaller}"
        )


class Fit(NamedTuple):
    """A batch that fits.

    Attributes:
      program: compiled for the batch.
      remark: size and memory of the batch, for the user to read.
    """

    program: BatchProgram
    remark: str


def largest_batch(
    compile_for: Callable[[Prior, int], BatchProgram],
    prior: Prior,
    most: int,
    devices: int,
) -> Fit:
    """Find the largest batch that fits in memory, with rematerialisation if it pays.

    Args:
      compile_for: compiles a program for a prior and a number of images.
      prior: the diffusion model.
      most: largest number of images.
      devices: number of devices that the program runs on.

    Raises:
      ValueError: if a single image does not fit.
    """
    kind = jax.default_backend()
    limit = USABLE * device_memory(devices)
    if kind == "cpu":
        limit -= host_memory_taken() / devices
    most = min(most, devices * MOST.get(kind, MOST_ELSEWHERE))
    busy = min(most, devices * BUSY.get(kind, BUSY_ELSEWHERE))
    program, recomputes = _fitting(compile_for, prior, most, limit), False
    small = program.device_bytes > limit or program.count < busy
    frugal = prior.rematerialised() if small else prior
    if frugal is not prior:
        other = _fitting(compile_for, frugal, most, limit)
        gains = other.count > program.count or program.device_bytes > limit
        if gains:
            program, recomputes = other, True
    needed, memory, where = program.device_bytes, device_memory(devices), "a device"
    if kind == "cpu":
        needed, memory = needed * devices + host_memory_taken(), memory * devices
        where = "in all"
    if program.device_bytes > limit:
        raise ValueError(
            f"one picture needs {needed / 1e9:.1f} GB of the {memory / 1e9:.1f} GB "
            f"that there are {where}; restore it in windows (--tile 256)"
        )
    how = ", recomputing blocks to save memory" if recomputes else ""
    return Fit(
        program,
        f"batches of {program.count}{how}: {needed / 1e9:.1f} of {memory / 1e9:.1f} GB "
        f"{where}",
    )


def _fitting(
    compile_for: Callable[[Prior, int], BatchProgram],
    prior: Prior,
    count: int,
    limit: float,
) -> BatchProgram:
    """The program for `count` images, or for the largest smaller number that fits.

    The program for one image is returned even if it does not fit. Memory is about
    a + b * count with unknown a, b >= 0; each guess assumes a = 0, so it is never too
    low.
    """
    while True:
        program = compile_for(prior, count)
        if program.device_bytes <= limit or count == 1:
            return program
        guess = int(count * limit / program.device_bytes)
        smaller = min(count, program.count) - 1
        count = max(1, min(guess, smaller))
