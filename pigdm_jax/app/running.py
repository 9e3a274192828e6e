"""One restoration at a time, in a thread that reports what it does."""

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from pigdm_jax.app.choices import Choices
from pigdm_jax.app.pace import Pace, work_of
from pigdm_jax.app.uploads import Limits
from pigdm_jax.core.sentences import expected
from pigdm_jax.metrics import default_metrics
from pigdm_jax.operators import Operator
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.pictures.prepared import Prepared, check_samples
from pigdm_jax.pictures.report import Report, report_on
from pigdm_jax.pictures.request import Request
from pigdm_jax.samplers import Info, Sampler

logger = logging.getLogger(__name__)
BUG = (
    "something went wrong on the server; its log says what. This is a bug: please "
    "report it"
)
COMPILING = "loading or compiling, which takes longer for the first photo of a size"
POLL = 0.5  # seconds between two reports of a step that takes longer


class Stopped(Exception):
    """The visitor stopped the restoration."""


class State(NamedTuple):
    """How far a restoration is.

    Attributes:
      phase: what is being done, for the visitor to read.
      done: evaluations of the prior so far.
      total: evaluations in all; 0 while unknown.
      seconds: since the beginning.
      remaining: seconds that are left; None while unknown.
      preview: the prior's last prediction of the image, (H, W, C) in [-1, 1].
    """

    phase: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    remaining: float | None = None
    preview: Shaped[np.ndarray, "H W C"] | None = None


class Finished(NamedTuple):
    """A restoration that is done.

    Attributes:
      report: on it.
      prepared: the photo and its prior.
      sampler: that was used.
      seconds: that it took.
    """

    report: Report
    prepared: Prepared
    sampler: Sampler
    seconds: float


class Failed(NamedTuple):
    """A restoration that ended without a result.

    Attributes:
      sentence: why, for the visitor to read.
      stopped: whether the visitor stopped it.
    """

    sentence: str
    stopped: bool = False


@dataclasses.dataclass
class Device:
    """The one device, and how fast it is.

    Attributes:
      lock: held by the restoration that computes.
      pace: of those before.
    """

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    pace: Pace = dataclasses.field(default_factory=Pace)


def prepare(
    request: Request, photo: Path, samples: int, limits: Limits
) -> tuple[Prepared, Sampler]:
    """Read a photo and its prior, and refuse what would fail later.

    Raises:
      ValueError: if the restoration is too large, or as `Request.prepare`.
    """
    enlargement = 1 if request.simulate else request.task.enlargement
    height, width = (enlargement * n for n in read_header(photo).size)
    limits.check_pixels(height, width, "the restoration")
    prepared = request.prepare(photo)
    sampler = request.sampler_for(prepared.prior, prepared.case.problem)
    check_samples(sampler, samples)
    return prepared, sampler


def reason(error: BaseException) -> str:
    """What to say to a visitor of an exception; bugs go to the server's log."""
    sentence = expected(error)
    if sentence is None:
        logger.error("a bug", exc_info=error)
        return BUG
    return sentence


class Restoration:
    """A restoration in a thread of its own.

    Attributes:
      stop: set to end it after the step that is being computed.

    Args:
      device: where it runs.
      choices: of the visitor.
      photo: the photo.
      mask: the file of the mask.
      limits: of the page.
      stop: the attribute.
      wait: called before anything is computed, with a function that raises if the
        restoration is to stop; waits for programs that are being compiled already.
    """

    def __init__(
        self,
        device: Device,
        choices: Choices,
        photo: Path,
        mask: str,
        limits: Limits,
        stop: threading.Event,
        wait: Callable[[Callable[[], None]], None] = lambda check: None,
    ) -> None:
        self.stop, self._wait = stop, wait
        self._device, self._choices, self._limits = device, choices, limits
        self._photo, self._mask = photo, mask
        self._reports: queue.Queue[State | Finished | Failed] = queue.Queue()
        self._began = time.monotonic()
        self._state = State("waiting for the device")

    def reports(self) -> Iterator[State | Finished | Failed]:
        """Start; reports until the last, `Finished` or `Failed`.

        If they are no longer read, the restoration stops.
        """
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            while True:
                try:
                    report = self._reports.get(timeout=POLL)
                except queue.Empty:
                    report = self._now()
                yield report
                if not isinstance(report, State):
                    return
        finally:
            self.stop.set()

    def _now(self) -> State:
        """The last state, with the time since."""
        state, seconds = self._state, time.monotonic() - self._began
        remaining = state.remaining
        if remaining is not None:
            remaining = max(0.0, remaining - (seconds - state.seconds))
        return state._replace(seconds=seconds, remaining=remaining)

    def _say(self, phase: str, **fields: Any) -> None:
        seconds = time.monotonic() - self._began
        self._state = self._state._replace(phase=phase, seconds=seconds, **fields)
        self._reports.put(self._state)

    def _work(self) -> None:
        try:
            self._say("compiling")
            self._wait(self._check_stop)
            self._say("waiting for the device")
            while not self._device.lock.acquire(timeout=0.1):
                self._check_stop()
            try:
                self._reports.put(self._restore())
            finally:
                self._device.lock.release()
        except Stopped:
            self._reports.put(Failed("stopped", stopped=True))
        except Exception as error:
            self._reports.put(Failed(reason(error)))

    def _check_stop(self) -> None:
        """Raise if the visitor wants no more.

        Raises:
          Stopped: if so.
        """
        if self.stop.is_set():
            raise Stopped

    def _restore(self) -> Finished:
        self._check_stop()
        self._say("reading the photo and the prior")
        request, samples = self._choices.request(self._mask), self._choices.samples
        prepared, sampler = prepare(request, self._photo, samples, self._limits)
        self._check_stop()
        count = samples * sampler.evaluations
        work, pace = work_of(prepared), self._device.pace
        self._say(COMPILING, total=count, remaining=pace.guess(work, count))
        times = [time.monotonic()]
        operator = prepared.case.problem.operator

        def on_step(step: int, info: Info) -> None:
            del step
            times.append(time.monotonic())
            self._check_stop()
            done = len(times) - 1
            each = (times[-1] - times[1]) / (done - 1) if done > 1 else None
            self._say(
                "restoring",
                done=done,
                preview=cut(np.asarray(info.x0), operator),
                remaining=None if each is None else each * (count - done),
            )

        results = prepared.draw(sampler, samples, on_step)
        if len(times) > 2:
            pace.note(work, (times[-1] - times[1]) / (len(times) - 2))
        self._say("comparing")
        report = report_on(prepared.case, results, default_metrics())
        return Finished(report, prepared, sampler, time.monotonic() - self._began)


def cut(
    x0: Shaped[np.ndarray, "rows columns C"], operator: Operator
) -> Shaped[np.ndarray, "height width C"]:
    """The photo's part of a prediction, which may be larger.

    Args:
      x0: from an `on_step`.
      operator: of the problem.
    """
    height, width, _ = operator.image_shape
    top, left = operator.wider[1:] if operator.wider is not None else (0, 0)
    rows, columns, _ = x0.shape
    if rows < height or columns < width or (rows, columns) == (height, width):
        return x0  # the photo, or a coarse pass over all of it
    return x0[top : top + height, left : left + width]
