"""Programs compiled in the background, so that the first click need not wait."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pigdm_jax.app.choices import Choices
from pigdm_jax.app.damages import Damage
from pigdm_jax.app.pace import work_of
from pigdm_jax.app.planning import stand_in_mask
from pigdm_jax.app.running import Device, prepare
from pigdm_jax.app.uploads import Limits
from pigdm_jax.pictures.decoding import read_header
from pigdm_jax.pictures.writing import write_picture
from pigdm_jax.samplers import Spaced

logger = logging.getLogger(__name__)
# Side of the results that are compiled for when a page is opened, and damages.
COMMON_SIDE = 256
MOST_WANTED, POLL = 4, 0.2
COMMON = (Damage("holes"), Damage("small"), Damage("noisy"))


def program_name(choices: Choices, photo: Path) -> str:
    """What determines the programs of a restoration, nearly."""
    damages = [
        (d.kind, d.values.get("factor", 4), d.values.get("kernel", "box"))
        for d in choices.damages
    ]
    names = ("simulate", "prior", "label", "cfg", "sampler", "aim", "tile")
    return repr(
        (read_header(photo), damages, [getattr(choices, name) for name in names])
    )


class Warmer:
    """A thread that compiles what will probably be needed, while nothing is restored.

    Args:
      device: whose lock is held while a restoration computes.
      folder: for stand-ins of photos and masks.
      limits: of the page.
    """

    def __init__(self, device: Device, folder: Path, limits: Limits) -> None:
        self._device, self._folder, self._limits = device, folder, limits
        # A visitor who tries settings wants the last of them.
        self._wanted: deque[tuple[Choices, Path]] = deque(maxlen=MOST_WANTED)
        self._done: set[str] = set()
        self._current: str | None = None
        self._finished = threading.Condition()
        self._closed = False
        threading.Thread(target=self._work, daemon=True).start()

    def want(self, choices: Choices, photo: Path) -> None:
        """Compile for a photo; what was asked for last comes first."""
        self._wanted.append((choices, photo))

    def want_common(self, prior: str) -> None:
        """Compile for common sizes and damages.

        Args:
          prior: its name.
        """
        for damage in reversed(COMMON):
            side = COMMON_SIDE // (4 if damage.kind == "small" else 1)
            photo = self._folder / f"common-{side}.png"
            if not photo.exists():
                noise = np.random.default_rng(0).uniform(-0.5, 0.5, (side, side, 3))
                write_picture(photo, noise.astype(np.float32))
            self.want(Choices((damage,), prior=prior), photo)

    def wait_for(
        self, choices: Choices, photo: Path, check_stop: Callable[[], None]
    ) -> None:
        """Wait while the programs of a restoration are being compiled."""
        name = program_name(choices, photo)
        with self._finished:
            while self._current == name:
                self._finished.wait(0.2)
                check_stop()

    def is_ready(self, choices: Choices, photo: Path) -> bool:
        """Whether the programs of a restoration have been compiled here."""
        return program_name(choices, photo) in self._done

    def close(self) -> None:
        """Compile nothing any more."""
        self._closed = True

    def _work(self) -> None:
        while not self._closed:
            if not self._wanted or self._device.lock.locked():
                time.sleep(POLL)
                continue
            choices, photo = self._wanted.pop()
            try:
                self._compile(choices, photo)
            except Exception as error:  # the restoration itself will say what is wrong
                logger.debug("not compiled ahead: %s", error)
            finally:
                with self._finished:
                    self._current = None
                    self._finished.notify_all()

    def _compile(self, choices: Choices, photo: Path) -> None:
        name = program_name(choices, photo)
        if name in self._done or self._closed:
            return
        self._current = name
        mask = stand_in_mask(choices, photo, self._folder / "common-mask.png")
        prepared, sampler = prepare(
            choices.request(mask), photo, choices.samples, self._limits
        )
        prepared.precompile(sampler)
        self._done.add(name)
        work, pace = work_of(prepared), self._device.pace
        if isinstance(sampler, Spaced) and pace.guess(work, 1) is None:
            began = time.monotonic()
            evaluations = prepared.precompile(sampler)
            pace.note(work, (time.monotonic() - began) / evaluations)
