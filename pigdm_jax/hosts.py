"""Several processes as one job."""

import dataclasses

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
