"""`pigdm reproduce`: run a table of a paper."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from pigdm_jax.cli.failures import INTERRUPTED
from pigdm_jax.cli.flags import output_folder
from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import Hosts, device_for_each_core
from pigdm_jax.tables.table import Table, find_table, table_names
from pigdm_jax.weights.names import check_prior


@dataclasses.dataclass(frozen=True)
class ReproduceFlags:
    """Flags of a table's run.

    Attributes:
      rows: names of the rows to run, or what they have in common before the number of
        steps; all, if not given.
      limit: images of each row at most, for a trial.
      size: side of the images in pixels instead of the table's, for a prior of another
        size. Masks in the middle shrink with it, other operators do not.
      metrics: what to compute instead of the table's metrics.
      labels: a file with the class of each image, for a prior with classes and for the
        accuracy of a classifier. Not needed if the images are in folders named by their
        ImageNet synsets (n01440764).
      classes: a file of ImageNet's 1000 synsets, needed if the images are in folders of
        fewer, or --labels has fewer.
      seed: of noise and samplers; each image's key depends on its content, too.
      batch: images restored at once; auto is as many as fit in memory.
      cache: folder where compiled programs are kept; none to keep nothing.
    """

    rows: tuple[str, ...] = ()
    limit: int | None = None
    size: int | None = None
    metrics: tuple[str, ...] = ()
    labels: Path | None = None
    classes: Path | None = None
    seed: int = 0
    batch: int | Literal["auto"] = "auto"
    cache: str | None = None

    def check(self) -> None:
        """Refuse values that make no sense, without JAX.

        Raises:
          ValueError: if there is one.
        """
        for name in ("limit", "size", "batch"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        for file in (self.labels, self.classes):
            if file is not None:
                check_readable(file)


def reproduce(
    table: Positional[str | None] = None,
    prior: str | None = None,
    images: Path | None = None,
    out: Path | None = None,
    flags: Annotated[ReproduceFlags, tyro.conf.arg(name="")] = ReproduceFlags(),
    hosts: Annotated[Hosts, tyro.conf.arg(name="")] = Hosts(),  # noqa: B008
    list: bool = False,
) -> None:
    """Run a table of a paper with any prior, and write it beside the published figures.

    Each image is cropped, degraded and restored as the table says, and evaluated. Run
    the same command again to continue after an interruption. The results are table.md,
    table.csv, sheet.png and, for several numbers of steps, curves.html in OUT.

    Args:
      table: one that --list shows, or a .toml file of your own.
      prior: a prior that `pigdm prior list` shows, or the folder of one.
      images: a folder of clean images, sub-folders included.
      out: the folder to write to.
      flags: what of the table to run, and how.
      hosts: processes that run a table together.
      list: list the tables; with a table, its rows.
    """
    if list:
        _list(table)
        return
    if table is None:
        raise ValueError(f"which table? There are {', '.join(table_names())}")
    found = find_table(table)
    own = f"; the table's own is {found.prior}" if found.prior else ""
    hints = {"prior": own, "images": f" of {found.data}" if found.data else ""}
    for name, value in (("prior", prior), ("images", images), ("out", out)):
        if value is None:
            hint = hints.get(name, "")
            raise ValueError(f"--{name} is needed to run table {found.name}{hint}")
    assert prior is not None and images is not None and out is not None
    flags.check()
    check_prior(prior)
    check_readable(images)
    if not images.is_dir():
        raise ValueError(f"--images {images} is a file; a table needs a folder")
    out = output_folder(out, images)
    device_for_each_core()
    hosts.join()
    _run(found, prior, images, out, flags)


def _list(name: str | None) -> None:
    from rich.table import Table as Grid

    from pigdm_jax.cli.console import console

    if name is None:
        grid = Grid("table", "what it shows", "rows")
        for known in table_names():
            table = find_table(known)
            grid.add_row(known, table.title, str(len(table.rows)))
        console.print(grid, soft_wrap=False)
        return
    table = find_table(name)
    console.print(table.title)
    for label, texts in (
        ("from", [table.paper]),
        ("images", [table.data]),
        ("prior", [table.prior]),
        ("source", table.sources),
        ("note", table.notes),
    ):
        for text in filter(None, texts):
            console.print(f"{label}: {text}")
    grid = Grid("row", "task", "noise", "sampler", "images")
    for row in table.rows:
        task = row.task or f"left out: {row.left_out}"
        number = "all" if row.images is None else str(row.images)
        grid.add_row(row.name, task, f"{row.noise:g}", row.sampler, number)
    console.print(grid, soft_wrap=False)


def _run(
    table: Table, prior: str, images: Path, out: Path, flags: ReproduceFlags
) -> None:
    from pigdm_jax.cli.console import PicturesBar, console
    from pigdm_jax.cli.prior_bar import PriorBar
    from pigdm_jax.core.compilation import cache_problem, keep_compiled
    from pigdm_jax.tables.experiment import TableRun
    from pigdm_jax.tables.plan import plan_lines, plan_table
    from pigdm_jax.tables.run import run_table

    keep_compiled(flags.cache)
    values: dict[str, Any] = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(flags)
        if field.name not in ("batch", "cache")
    }
    batch = None if flags.batch == "auto" else flags.batch
    run = TableRun(
        table, prior, images, out, **values, batch=batch, remark=console.print
    )
    with PriorBar(prior) as progress, PriorBar() as obtaining:
        plan = plan_table(run, progress, obtaining)
    for line in plan_lines(plan):
        console.print(line)
    try:
        with PicturesBar() as advance:
            watched = plan._replace(run=dataclasses.replace(run, progress=advance))
            outcome = run_table(
                watched, lambda experiment: console.print(f"{experiment.row.name} ...")
            )
    except KeyboardInterrupt:
        console.print("stopped; run the same command again to continue")
        # As for a folder: an exit in order would wait for the device.
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    for file in outcome.files:
        if file.suffix == ".md":
            for line in file.read_text(encoding="utf-8").splitlines():
                console.print(line)
    for file in outcome.files:
        console.print(f"wrote {file}")
    if problem := cache_problem():
        console.print(f"note: {problem}")
    if outcome.failed:
        console.print(f"{outcome.failed} images could not be restored")
        sys.exit(1)
