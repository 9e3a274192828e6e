"""How long restorations take on this device, learned from those before."""

import math
import threading

from pigdm_jax.pictures.prepared import Prepared


def work_of(prepared: Prepared) -> tuple[str, int]:
    """What the time of an evaluation depends on: the prior's kind and the pixels."""
    height, width, _ = prepared.case.problem.operator.restored_shape
    prior = prepared.prior
    inner = getattr(prior, "prior", prior)
    return f"{type(prior).__name__} {getattr(inner, 'network', '')!r}", height * width


class Pace:
    """Seconds of an evaluation, by what is computed."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[int, float]] = {}
        self._lock = threading.Lock()

    def note(self, work: tuple[str, int], seconds: float) -> None:
        """Learn from a restoration.

        Args:
          work: as `work_of` gives it.
          seconds: of one evaluation.
        """
        kind, pixels = work
        with self._lock:
            self._seconds.setdefault(kind, {})[pixels] = seconds

    def guess(self, work: tuple[str, int], count: int) -> float | None:
        """Seconds of a restoration, without compiling; None if none was before.

        Args:
          work: as `work_of` gives it.
          count: of evaluations.

        Examples:
          >>> from pigdm_jax.app.pace import Pace
          >>> pace = Pace()
          >>> pace.note(("a", 100), 2.0)
          >>> pace.guess(("a", 200), 10), pace.guess(("b", 200), 10)
          (40.0, None)
        """
        kind, pixels = work
        with self._lock:
            known = dict(self._seconds.get(kind, {}))
        if not known:
            return None
        nearest = min(known, key=lambda n: abs(math.log(n / pixels)))
        return count * known[nearest] * pixels / nearest
