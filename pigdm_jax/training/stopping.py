"""Signals that stop a run early."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and Ctrl-C.

    A second Ctrl-C interrupts as usual. If several processes train together, SIGTERM is
    handled by JAX instead, which stops all of them at the same step; see
    `Checkpoints.reached_preemption`.

    Yields:
      A function that returns whether a signal has arrived.
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
