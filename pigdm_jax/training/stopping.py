"""When a run is to stop early: a signal, or a preemption notice of its hosts."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGTERM or Ctrl-C has arrived.

    A second Ctrl-C interrupts as usual. Where several processes train together, SIGTERM
    is left to JAX's preemption notices, which reach all of them at the same step; see
    `Checkpoints.reached_preemption`.
    """
    arrived = []

    def note(number: int, frame: object) -> None:
        arrived.append(number)
        signal.signal(signal.SIGINT, previous[signal.SIGINT])

    signals = [signal.SIGINT]
    if jax.process_count() == 1:
        signals.append(signal.SIGTERM)
    previous = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
