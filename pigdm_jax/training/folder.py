"""The folder of a run: what it must not replace, and what a killed run left."""

import os
import shutil
from pathlib import Path

from pigdm_jax.training.config import TrainConfig

CONFIG, CHECKPOINTS, LOCKS = "config.json", "checkpoints", ".locks"
WRITTEN = (CONFIG, "metrics.csv", CHECKPOINTS, "samples", "tensorboard", "prior")


def check_folder(source: Path, out: Path, config: TrainConfig) -> None:
    """Refuse a folder that holds another run, or files that no run wrote.

    Args:
      source: the photos.
      out: the run's folder.
      config: of the run.

    Raises:
      ValueError: if the run is finished, was started with other flags, or would
        replace something; or if its samples would be among the photos.
    """
    if source.is_dir() and source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(
            f"--out {out} lies in {source}, whose pictures are the photos; choose "
            "another folder"
        )
    if os.path.lexists(out) and not out.is_dir():
        raise ValueError(f"--out {out} is a file; choose another name for the folder")
    if (out / CONFIG).exists():
        config.check_same(out / CONFIG)
    else:
        for name in WRITTEN:
            if os.path.lexists(out / name):
                raise ValueError(
                    f"{out / name} exists and belongs to no run, which has a {CONFIG}; "
                    "choose another --out"
                )
    if (out / "prior").exists():
        raise ValueError(f"the run {out} is finished; its prior is {out / 'prior'}")


def begin(out: Path, config: TrainConfig) -> None:
    """Write the configuration, whole, and remove what a killed run left.

    Raises:
      OSError: if nothing can be written there.
    """
    for half in (*out.glob(".prior.*.tmp"), *out.glob("samples/.*.tmp.png")):
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)
    temporary = out / LOCKS / CONFIG
    temporary.write_text(config.to_json())
    os.replace(temporary, out / CONFIG)
