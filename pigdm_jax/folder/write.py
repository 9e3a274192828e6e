"""Writing a batch's restorations: files, scores and lines of the manifest."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from pigdm_jax.folder.listing import Entry
from pigdm_jax.folder.load import Loaded
from pigdm_jax.folder.manifest import Manifest
from pigdm_jax.metrics import METRICS
from pigdm_jax.pictures.results import Restored, as_image, not_finite
from pigdm_jax.pictures.writing import remarks_on, write_restored

THREADS = 8


class Writer:
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
        remark: Callable[[str], None],
    ) -> None:
        """Start the threads.

        Args:
          out: the output folder.
          manifest: opened.
          settings: of the request, for the manifest's lines.
          remark: called with errors, for the user.
        """
        self.out, self.manifest = out, manifest
        self.settings, self.remark = settings, remark
        self.threads = ThreadPoolExecutor(THREADS)
        # One thread that waits for the device, to time it apart from the host.
        self.watch = ThreadPoolExecutor(1)
        self.ready_at = 0.0
        self.writing: list[Future] = []
        self.written, self.failed, self.device_seconds = 0, 0, 0.0
        self.noted: set[str] = set()

    def time(self, result: Restored, started: float) -> Future:
        """Time a batch: the seconds from its start, or from the end of the last one."""

        def wait() -> float:
            jax.block_until_ready(result)
            began = max(started, self.ready_at)
            self.ready_at = time.perf_counter()
            return self.ready_at - began

        return self.watch.submit(wait)

    def accept(
        self,
        rows: dict[int, Loaded],
        result: Restored,
        seconds: Future,
        sampler: str,
    ) -> None:
        """Write a batch when it is ready, while the next one is computed.

        Args:
          rows: its pictures by their places in the batch.
          result: the restorations of every place.
          seconds: from `time`.
          sampler: as text.
        """
        duration = seconds.result()
        self.device_seconds += duration
        pixels, finite, mismatch, trace = jax.device_get(result)
        self.flush()
        for i, row in rows.items():
            if finite[i]:
                fields = {
                    "sampler": sampler,
                    "off": float(mismatch[i]),
                    "seconds": duration / len(rows),
                }
                future = self.threads.submit(self._write, row, pixels[i], fields)
                self.writing.append(future)
            else:
                reason = not_finite(jax.tree.map(itemgetter(i), trace))
                self.fail(row.entry, reason, row.digest)

    def _write(
        self, row: Loaded, pixels: Shaped[np.ndarray, "H W 3"], fields: dict[str, Any]
    ) -> dict[str, Any]:
        height, width = row.size
        image = as_image(pixels[:height, :width])
        case = row.case
        assert case is not None  # or there would be no pixels
        if case.original is not None:
            reference = case.original[:height, :width]
            fields |= {name: float(f(image, reference)) for name, f in METRICS.items()}
        if row.noise is not None:
            fields["noise"] = row.noise
        place = self.out / row.entry.output
        notes = [*row.notes, *remarks_on(place, case.kept)]
        if notes:
            fields["notes"] = notes
        place.parent.mkdir(parents=True, exist_ok=True)
        write_restored(place, image, case.kept)
        return self._line(
            row.entry,
            row.digest,
            output=row.entry.output,
            bytes=place.stat().st_size,
            height=height,
            width=width,
            **fields,
        )

    def fail(self, entry: Entry, reason: str, digest: str = "") -> None:
        """Record that a picture cannot be restored."""
        self.failed += 1
        self.remark(f"{entry.name}: {reason}")
        self.manifest.add([self._line(entry, digest, error=reason)])

    def flush(self) -> None:
        """Wait for the pictures being written and add their lines."""
        writing, self.writing = self.writing, []
        done = [future for future in writing if future.exception() is None]
        lines = [future.result() for future in done]
        self.manifest.add(lines)
        for line in lines:
            for note in set(line.get("notes", ())) - self.noted:
                # Once of each kind; the manifest has them all.
                self.noted.add(note)
                self.remark(f"note: {line['input']}: {note}")
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
        self, entry: Entry, digest: str, error: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        return {
            "input": entry.name,
            "digest": digest,
            "error": error,
            **fields,
            "settings": self.settings,
            "time": now,
        }
