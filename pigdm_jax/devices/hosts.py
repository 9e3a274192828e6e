"""Several processes as one job, and a host's cores as several devices."""

import contextlib
import dataclasses
import os

import jax

# Hosts with little to do wait this long for the others before they call them lost.
PATIENCE_SECONDS = 7 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Flags for work shared by several processes.

    Attributes:
      distributed: this process is one of several: on a TPU pod, under SLURM or MPI each
        finds the others by itself, elsewhere the next three tell.
      coordinator: HOST:PORT of process 0, as all others reach it.
      processes: how many there are.
      process: which one this is, from 0.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def join(self) -> None:
        """Meet the other processes, before anything else is asked of JAX.

        Raises:
          ValueError: if flags are missing, or the others are not found.
        """
        by_hand = (self.coordinator, self.processes, self.process)
        given = [flag is not None for flag in by_hand]
        if any(given) and not all(given):
            raise ValueError("--coordinator, --processes and --process go together")
        if not self.distributed and not all(given):
            return
        try:
            jax.distributed.initialize(
                *by_hand, shutdown_timeout_seconds=PATIENCE_SECONDS
            )
        except (ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0]
            raise ValueError(
                f"the other processes were not found ({why}); give each --coordinator, "
                "--processes and --process"
            ) from None


def device_for_each_core() -> None:
    """Let JAX see every core as a device, before anything else is asked of it.

    Where there is no GPU or TPU, images side by side, each on a core, are restored
    faster than one after another on all cores (`benchmarks/folders.py`). Nothing
    changes if XLA_FLAGS says how many devices there are, or if JAX has been asked.
    """
    if "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", _cores())


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
