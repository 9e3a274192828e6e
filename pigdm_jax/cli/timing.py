"""`pigdm bench`: time the network on this machine."""

from typing import TYPE_CHECKING

from pigdm_jax.core.checks import check_count
from pigdm_jax.devices.hosts import device_for_each_core
from pigdm_jax.weights.names import check_prior

if TYPE_CHECKING:
    import pigdm_jax.devices.timing


def bench(
    prior: str = "photos-64",
    size: int = 128,
    batch: int = 1,
    steps: int = 5,
    rounds: int = 3,
) -> None:
    """Time 4x super-resolution of random pictures on this machine.

    Args:
      prior: a prior that `pigdm prior list` shows, or a folder of one.
      size: side of the pictures.
      batch: pictures in a batch; on CPUs they are distributed over the cores.
      steps: evaluations of the network in each round.
      rounds: number of timed rounds, after one to warm up; their median is reported.
    """
    for name, value in (("batch", batch), ("steps", steps), ("rounds", rounds)):
        check_count(f"--{name}", value, 1, 1000)
    if not 4 <= size <= 2**16 or size % 4:
        raise ValueError(
            f"--size must be a multiple of 4 from 4 to {2**16}, got {size}"
        )
    check_prior(prior)
    if batch > 1:
        device_for_each_core()

    import jax

    from pigdm_jax.cli.console import console
    from pigdm_jax.cli.prior_bar import PriorBar
    from pigdm_jax.devices.memory import check_memory
    from pigdm_jax.devices.timing import matrix_ceiling, time_steps
    from pigdm_jax.weights.store import load_prior

    with PriorBar(prior) as progress:
        loaded = load_prior(prior, progress=progress)
    check_memory(loaded, (size, size, 3))
    with console.status("compiling and timing"):
        speed = time_steps(loaded, size, batch, steps, rounds)
        ceiling = matrix_ceiling()
    devices = jax.local_devices()
    console.print(
        f"{devices[0].device_kind}, {len(devices)} "
        f"device{'s' * (len(devices) > 1)}, {prior}, {batch} x {size} x {size} pixels"
    )
    for line in _speed_lines(speed, ceiling, batch):
        console.print(line)


def _speed_lines(
    speed: "pigdm_jax.devices.timing.Speed", ceiling: float, batch: int
) -> list[str]:
    """Times, rates and memory of a batch, line by line."""
    each = speed.step_seconds / batch
    rate = speed.flops / speed.step_seconds
    return [
        f"{speed.compile_seconds:.1f} s to compile",
        f"{each * 1e3:.1f} ms an evaluation and picture: {20 * each:.1f} s for 20, "
        f"{100 * each:.1f} s for 100",
        f"{rate / 1e9:.0f} GFLOP/s, {rate / ceiling:.0%} of a matrix product's "
        f"{ceiling / 1e9:.0f}, both in float32",
        f"{speed.device_bytes / 1e9:.2f} GB on each device",
    ]
