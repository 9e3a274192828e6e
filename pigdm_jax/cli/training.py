"""`pigdm train`: train a prior on a user's own photos."""

import importlib.util
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import Hosts
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.weights.names import check_prior, find_prior


def train(
    photos: Positional[Path],
    out: Path,
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig(),  # noqa: B008
    hosts: Annotated[Hosts, tyro.conf.arg(name="")] = Hosts(),  # noqa: B008
) -> None:
    """Train a prior on your own photos; run it again to continue a stopped training.

    Args:
      photos: a folder of photos, with its sub-folders, or a .zip file of them.
      out: folder of the run; the trained prior is written to OUT/prior.
      config: all other flags.
      hosts: processes that train together.
    """
    check_readable(photos)
    if importlib.util.find_spec("tensorboardX") is None:
        raise ValueError("training needs tensorboardX: pip install 'pigdm-jax[train]'")

    config.check()
    config.check_unused()
    if config.init is not None:
        check_prior(config.init)
    hosts.join()
    from pigdm_jax.cli.console import TrainingBar, console
    from pigdm_jax.cli.prior_bar import PriorBar
    from pigdm_jax.training.loop import train as run

    if config.init is not None:
        with PriorBar(config.init) as progress:
            find_prior(config.init, progress)
    with TrainingBar(config.steps) as report:
        prior = run(photos, out, config, report)
    if prior is None:
        console.print("stopped; run the same command again to continue")
    else:
        console.print(f"wrote {prior}; restore with --prior {prior}")
