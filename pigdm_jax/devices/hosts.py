"""Several processes as one job, and a host's cores as several devices.

JAX is imported when it is needed: the command's flags are defined here.
"""

import contextlib
import dataclasses
import os

# A process that has finished waits this long for the others at the end.
PATIENCE_SECONDS = 7 * 24 * 3600
MOST_PROCESSES = 2**16


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Flags for work that several processes do together.

    Attributes:
      distributed: this process is one of several. On a TPU pod, under SLURM or MPI each
        finds the others by itself; elsewhere give the next three flags.
      coordinator: HOST:PORT of process 0, as the others reach it.
      processes: number of processes.
      process: number of this process, from 0.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    @property
    def are_several(self) -> bool:
        """Whether this process is one of several."""
        return self.distributed or self.coordinator is not None

    def join(self) -> None:
        """Connect to the other processes; before any other use of JAX.

        Raises:
          ValueError: if flags are missing, or the others are not found.
        """
        by_hand = (self.coordinator, self.processes, self.process)
        given = [flag is not None for flag in by_hand]
        if any(given) and not all(given):
            raise ValueError("--coordinator, --processes and --process go together")
        self._check_ranges()
        if not self.distributed and not all(given):
            return
        import jax

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

    def _check_ranges(self) -> None:
        """Refuse numbers with which the processes would wait for each other forever.

        Raises:
          ValueError: if one is out of range.
        """
        if self.coordinator is None or self.processes is None or self.process is None:
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port[:6]) < 2**16:
            raise ValueError(f"--coordinator is HOST:PORT, got {self.coordinator}")
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise ValueError(
                f"--processes must be from 1 to {MOST_PROCESSES}, got {self.processes}"
            )
        if not 0 <= self.process < self.processes:
            raise ValueError(
                f"--process must be from 0 to {self.processes - 1}, got {self.process}"
            )


def device_for_each_core() -> None:
    """Make every CPU core a device of its own; before any other use of JAX.

    Without a GPU or TPU a batch of images is restored faster with one image on each
    core than with all cores on one image after another (`benchmarks/folders.py`).
    Nothing changes if XLA_FLAGS sets the number of devices, or if JAX is in use
    already.
    """
    if "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    import jax

    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", _cores())


def _cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
