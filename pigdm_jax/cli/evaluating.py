"""`pigdm evaluate`: metrics of a folder of restored pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from tyro.conf import Positional

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.files import check_name_writable
from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import device_for_each_core
from pigdm_jax.metrics.registry import DEFAULT, check_metric

if TYPE_CHECKING:
    import pigdm_jax.metrics.plan


def evaluate(
    restored: Positional[Path],
    reference: Path | None = None,
    metrics: tuple[str, ...] = DEFAULT,
    labels: Path | None = None,
    partial: bool = False,
    batch: int = 8,
    report: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    save_statistics: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Evaluate a folder of restored pictures.

    Args:
      restored: the folder of restored pictures; folders in it are searched, too.
      reference: the folder of clean pictures, which have the same names, without
        suffix; for fid also the .npz file of their statistics, as pytorch-fid saves
        them.
      metrics: psnr, ssim, lpips (AlexNet), lpips_vgg, fid, kid, accuracy and top5 (of
        ResNet-50, which need --labels), "consistency:TASK" (how far measurements of the
        pictures are from those of the references). The weights of networks are
        downloaded on first use.
      labels: a JSON file with the class of each picture, {"a.png": 207}.
      partial: the reference folder may hold more pictures.
      batch: pictures evaluated at once.
      report: the .html file of a page to write, with distributions and the best and
        worst pictures.
      json: the .json file of all values to write.
      csv: the .csv file of the values of each picture to write.
      save_statistics: the .npz file to write the statistics of the reference pictures
        to, for another run of fid.
      overwrite: replace files that exist.
    """
    for name in metrics:
        check_metric(name)
    check_count("--batch", batch, 1, 10_000)
    outputs = {".html": report, ".json": json, ".csv": csv, ".npz": save_statistics}
    _check_outputs(outputs, overwrite)
    for path in (restored, reference):
        if path is not None:
            check_readable(path)
    device_for_each_core()

    from pigdm_jax.cli.console import EvaluatedBar, console
    from pigdm_jax.cli.prior_bar import PriorBar
    from pigdm_jax.metrics.evaluation import plan_evaluation
    from pigdm_jax.metrics.results import read_labels

    plan = plan_evaluation(
        restored,
        reference,
        metrics,
        labels=None if labels is None else read_labels(labels),
        batch=batch,
        partial=partial,
        save_statistics=save_statistics,
    )
    for remark in plan.remarks:
        console.print(f"note: {remark}")
    with PriorBar() as obtaining, EvaluatedBar() as progress:
        found = plan.run(progress, obtaining)
    console.print(f"{found.count} picture{'s' * (found.count != 1)} of {restored}")
    console.print(summary_table(found))
    _write(found, outputs, f"Evaluation of {restored}")
    for path in filter(None, outputs.values()):
        console.print(f"wrote {path}")


def _write(
    found: "pigdm_jax.metrics.plan.Evaluation",
    outputs: Mapping[str, Path | None],
    title: str,
) -> None:
    """Write the files of an evaluation, by their suffixes, but the statistics."""
    from pigdm_jax.metrics.report import write_report
    from pigdm_jax.metrics.results import write_csv, write_json

    if page := outputs[".html"]:
        write_report(page, found, title)
    if json := outputs[".json"]:
        write_json(json, found)
    if csv := outputs[".csv"]:
        write_csv(csv, found)


def summary_table(found: "pigdm_jax.metrics.plan.Evaluation") -> Table:
    """A table with a row for each metric."""
    table = Table("metric", "value ± standard error", "")
    for name, summary in found.summary.items():
        metric = found.metrics[name]
        better = f"{metric.better} is better"
        table.add_row(metric.title, metric.text(*summary), better)
    return table


def _check_outputs(outputs: Mapping[str, Path | None], overwrite: bool) -> None:
    """Check the files to write before anything is computed.

    Args:
      outputs: the files by the suffixes that they must have.
      overwrite: whether files that exist are replaced.

    Raises:
      ValueError: if one has another suffix, is in no folder, or exists.
    """
    for suffix, path in outputs.items():
        if path is None:
            continue
        flag = "--report" if suffix == ".html" else f"--{suffix[1:]}"
        flag = "--save-statistics" if suffix == ".npz" else flag
        if path.suffix.lower() != suffix:
            raise ValueError(f"{flag} must be a {suffix} file, got {path}")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{flag}: there is no folder {path.absolute().parent}")
        check_name_writable(path)
        if path.is_dir() or (path.exists() and not overwrite):
            raise ValueError(f"{path} exists; --overwrite replaces a file")
