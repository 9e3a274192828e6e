"""What the command shows while it works, and when it is done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pigdm_jax.folder.job import Summary
from pigdm_jax.metrics.fidelity import psnr, ssim
from pigdm_jax.pictures.photos import Case, pseudoinverse
from pigdm_jax.samplers import Info

# No markup: file names may hold brackets.
console = Console(highlight=False, soft_wrap=True, markup=False)


class _Bar:
    """A progress bar; as a context, the call that moves it."""

    def __init__(self, total: int | None) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("compiling", total=total)

    def __enter__(self) -> Callable:
        self.bar.start()
        return self.move

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def move(self, *args: Any) -> None:
        raise NotImplementedError


class EvaluationsBar(_Bar):
    """Evaluations of the network, for one picture."""

    def move(self, step: int, info: Info) -> None:
        """One more."""
        del step, info
        self.bar.update(self.task, advance=1, description="restoring")


class PicturesBar(_Bar):
    """Pictures of a folder."""

    def __init__(self) -> None:
        super().__init__(None)

    def move(self, done: int, count: int) -> None:
        """So many are done, of so many."""
        self.bar.update(self.task, completed=done, total=count, description="restoring")


class TrainingBar(_Bar):
    """Steps of a training run."""

    def move(self, step: int, loss: float, speed: float) -> None:
        """So many are done."""
        text = f"loss {loss:.4f}, {speed:.0f} crops/s"
        self.bar.update(self.task, completed=step, description=text)


def score_table(case: Case, results: dict[str, np.ndarray]) -> Table:
    """PSNR and SSIM of the pseudoinverse and of results, in [-1, 1], by name."""
    table = Table("", "PSNR", "SSIM")
    alone = {"pseudoinverse": pseudoinverse(case.problem)}
    for name, image in (alone | results).items():
        score = psnr(image, case.original), ssim(image, case.original)
        table.add_row(name, f"{score[0]:.2f} dB", f"{score[1]:.3f}")
    return table


def summary_lines(done: Summary, out: Path) -> list[str]:
    """What came of a folder."""
    compiled = f"{done.compilations} program{'s' * (done.compilations != 1)}"
    lines = [
        f"{done.restored} restored in {done.seconds:.1f} s, after "
        f"{done.compile_seconds:.1f} s to compile {compiled}; "
        f"{done.skipped} were finished before",
        f"wrote {out}",
    ]
    if done.seconds and done.restored:
        outside = 1 - done.device_seconds / done.seconds
        lines[0] += f"; {outside:.1%} of the time no batch was being computed"
    if done.failed:
        lines.append(f'{done.failed} failed: see "error" in {out / "manifest.jsonl"}')
    return lines
