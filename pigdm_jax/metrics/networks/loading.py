"""Networks of metrics from their public weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pigdm_convert.reader import CheckpointError, read_checkpoint
from pigdm_convert.tensor import Refused
from pigdm_jax.metrics.networks.base import Tensors
from pigdm_jax.metrics.networks.registry import NETWORKS
from pigdm_jax.weights.catalogue import find_entry
from pigdm_jax.weights.downloads import Progress
from pigdm_jax.weights.obtaining import obtain_files


def load_network(name: str, progress: Progress | None = None) -> Callable[..., Any]:
    """A network of `NETWORKS`, whose weights are downloaded on first use.

    Args:
      name: the name.
      progress: called with what is being done, and the bytes that are done and to be
        done.

    Raises:
      ValueError: if its weights cannot be obtained, or are not those of the network.
    """
    paths, source = network_files(name, progress), NETWORKS[name]
    try:
        return source.build([_read(path) for path in paths])
    except (CheckpointError, Refused, ValueError) as error:
        raise ValueError(
            f"the weights of {source.entry} cannot be used: {error}"
        ) from None


def network_files(name: str, progress: Progress | None = None) -> list[Path]:
    """The files of a network of `NETWORKS`, downloaded on first use.

    Args:
      name: the name.
      progress: as `load_network` takes it.

    Raises:
      ValueError: if they cannot be obtained.
    """
    entry = find_entry(NETWORKS[name].entry)
    assert entry is not None  # the catalogue is the package's
    return obtain_files(entry, progress)


def _read(path: Path) -> Tensors:
    tensors = read_checkpoint(path).tensors.items()
    return {key: np.asarray(tensor.read()) for key, tensor in tensors}
