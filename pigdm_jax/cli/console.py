"""Progress bars, tables and summaries that the command prints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pigdm_jax.core.text import printable

if TYPE_CHECKING:
    import pigdm_jax.folder.job
    import pigdm_jax.samplers.base


class _Printable(Console):
    """A console on which names of files do nothing but appear."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print, with text escaped."""
        escaped = (printable(x) if isinstance(x, str) else x for x in objects)
        super().print(*escaped, **how)


# No markup and no emoji: names of files may hold brackets and colons.
console = _Printable(highlight=False, soft_wrap=True, markup=False, emoji=False)

# Formats of metrics, "{:.3f}" if not listed.
FORMATS = {"psnr": "{:.2f} dB"}


class _Bar:
    """A progress bar; as a context manager it returns the function that advances it."""

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

    def move(self, step: int, info: "pigdm_jax.samplers.base.Info") -> None:
        """Advance by one evaluation."""
        del step, info
        self.bar.update(self.task, advance=1, description="restoring")


class PicturesBar(_Bar):
    """Pictures of a folder."""

    def __init__(self) -> None:
        super().__init__(None)

    def move(self, done: int, count: int) -> None:
        """Show the number of finished pictures."""
        self.bar.update(self.task, completed=done, total=count, description="restoring")


class EvaluatedBar(_Bar):
    """Pictures of an evaluation."""

    def __init__(self) -> None:
        super().__init__(None)

    def move(self, done: int, total: int) -> None:
        """Show the number of pictures that are done."""
        what = "evaluating" if done else "compiling"
        self.bar.update(self.task, completed=done, total=total, description=what)


class TrainingBar(_Bar):
    """Steps of a training run."""

    def move(self, step: int, loss: float, speed: float) -> None:
        """Show the step, loss and speed."""
        text = f"loss {loss:.4f}, {speed:.0f} crops/s"
        self.bar.update(self.task, completed=step, description=text)


def score_table(scores: Mapping[str, Mapping[str, float]]) -> Table:
    """A table with a row for each picture and a column for each metric."""
    metrics = next(iter(scores.values()))
    table = Table("", *(name.upper() for name in metrics))
    for name, row in scores.items():
        table.add_row(
            name, *(FORMATS.get(key, "{:.3f}").format(x) for key, x in row.items())
        )
    return table


def summary_lines(done: "pigdm_jax.folder.job.JobSummary", out: Path) -> list[str]:
    """The summary of a folder, line by line."""
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
        lines.append(f'{done.failed} failed: see "error" in {out / "manifest"}')
    return lines
