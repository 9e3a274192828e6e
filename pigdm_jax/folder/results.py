"""What becomes of a batch's restorations: files, scores and lines of the manifest."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from pigdm_jax.core.types import PRNGKey
from pigdm_jax.folder.listing import Entry
from pigdm_jax.folder.manifest import Manifest
from pigdm_jax.metrics.fidelity import psnr, ssim
from pigdm_jax.pictures.files import from_uint8, write_picture
from pigdm_jax.pictures.photos import NOT_FINITE, Case, Picture, Restored

THREADS = 8


class Loaded(NamedTuple):
    """A picture ready to be restored, or why it is not.

    Attributes:
      entry: where it is and goes.
      digest: of its file.
      case: what to restore.
      key: of the sampler.
      size: height and width of its restoration, without padding.
      error: one sentence, if there is no case.
    """

    entry: Entry
    digest: str = ""
    case: Case | None = None
    key: PRNGKey | None = None
    size: tuple[int, int] = (0, 0)
    error: str | None = None


class Results:
    """Writes pictures in threads, then their lines, in that order.

    Attributes:
      written, failed: how many pictures so far.
      device_seconds: while a batch was being computed.
    """

    def __init__(
        self,
        out: Path,
        manifest: Manifest,
        settings: dict[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
          out: the output folder.
          manifest: opened.
          settings: what the pictures are restored by, for their lines.
          tell: called with errors, for the user.
        """
        self.out, self.manifest = out, manifest
        self.settings, self.tell = settings, tell
        self.threads = ThreadPoolExecutor(THREADS)
        # One thread that waits for the device, so that its time is told from ours.
        self.watch = ThreadPoolExecutor(1)
        self.ready_at = 0.0
        self.writing: list[Future] = []
        self.written, self.failed, self.device_seconds = 0, 0, 0.0

    def watched(self, made: Restored, started: float) -> Future:
        """The seconds that a batch, started then, takes once the last one is done."""

        def wait() -> float:
            jax.block_until_ready(made)
            began = max(started, self.ready_at)
            self.ready_at = time.perf_counter()
            return self.ready_at - began

        return self.watch.submit(wait)

    def accept(
        self, rows: dict[int, Loaded], made: Restored, took: Future, sampler: str
    ) -> None:
        """Write a batch when it is ready, while the next one is computed.

        Args:
          rows: its pictures by their places.
          made: the restorations of every place.
          took: from `watched`.
          sampler: that made them, as text.
        """
        seconds = took.result()
        self.device_seconds += seconds
        pixels, finite, off = jax.device_get((made.pixels, made.finite, made.off))
        self.flush()
        for i, row in rows.items():
            if finite[i]:
                told = {
                    "sampler": sampler,
                    "off": float(off[i]),
                    "seconds": seconds / len(rows),
                }
                write = self.threads.submit(self._write, row, pixels[i], told)
                self.writing.append(write)
            else:
                self.fail(row.entry, NOT_FINITE, row.digest)

    def _write(
        self, row: Loaded, pixels: UInt8[np.ndarray, "H W 3"], told: dict[str, Any]
    ) -> dict[str, Any]:
        height, width = row.size
        image = from_uint8(pixels[:height, :width])
        original = row.case.original
        if original is not None:
            told |= _scores(image, original[:height, :width])
        place = self.out / row.entry.output
        place.parent.mkdir(parents=True, exist_ok=True)
        write_picture(place, image)
        return self._line(
            row.entry,
            row.digest,
            output=row.entry.output,
            bytes=place.stat().st_size,
            height=height,
            width=width,
            **told,
        )

    def fail(self, entry: Entry, why: str, digest: str = "") -> None:
        """Give one picture up."""
        self.failed += 1
        self.tell(f"{entry.name}: {why}")
        self.manifest.add([self._line(entry, digest, error=why)])

    def flush(self) -> None:
        """Wait for the pictures being written and add their lines."""
        writing, self.writing = self.writing, []
        done = [future for future in writing if future.exception() is None]
        self.manifest.add([future.result() for future in done])
        self.written += len(done)
        for future in writing:
            future.result()

    def close(self) -> None:
        """Write what is computed; nothing under way is lost."""
        try:
            self.flush()
        finally:
            self.threads.shutdown()
            self.watch.shutdown()

    def _line(
        self, entry: Entry, digest: str, error: str | None = None, **told: Any
    ) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        return {
            "input": entry.name,
            "digest": digest,
            "error": error,
            **told,
            "settings": self.settings,
            "time": now,
        }


def _scores(image: Picture, original: Picture) -> dict[str, float]:
    return {"psnr": float(psnr(image, original)), "ssim": float(ssim(image, original))}
