"""Values and features of batches of images, by compiled functions."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.metrics.base import DistributionMetric, ImageMetric, Metric
from pigdm_jax.metrics.networks.loading import load_network
from pigdm_jax.metrics.streaming import Batch, shardings
from pigdm_jax.weights.downloads import Progress

Networks = Mapping[Any, Any]
"""Networks by what a metric's `network` says: a name, or the network itself."""


def load_networks(
    metrics: Iterable[Metric], progress: Progress | None = None
) -> Networks:
    """The networks of metrics, each once, on all devices of this process.

    Args:
      metrics: the metrics.
      progress: called while weights are downloaded, as `load_prior` does.

    Raises:
      ValueError: if weights cannot be obtained.
    """
    wanted = {m.network: None for m in metrics if m.network is not None}
    found = {}
    for network in wanted:
        loaded = network
        if isinstance(network, str):
            loaded = load_network(network, progress)
        found[network] = jax.device_put(loaded, shardings().copied)
    return found


def feature_networks(metrics: Iterable[Metric]) -> list[Any]:
    """The networks whose features metrics take, each once."""
    wanted = {
        m.network: None
        for m in metrics
        if isinstance(m, DistributionMetric)
        or (isinstance(m, ImageMetric) and "features" in m.inputs)
    }
    return list(wanted)


def features_of(network: Any, batch: Batch, size: int) -> Array:
    """The features of a batch's images, and of copies of the last that fill it up.

    Images are prepared by a program for each of their sizes. What comes after it has
    one shape, and so one program, which takes long to compile.

    Args:
      network: a `FeatureNetwork`.
      batch: the images.
      size: images of a full batch.
    """
    images = batch.columns["image"]
    prepared = _prepared(network, images)
    sharding = shardings().batched
    fill = size + -size % len(sharding.device_set) - len(prepared)
    if fill > 0:
        prepared = jnp.concatenate([prepared, jnp.repeat(prepared[-1:], fill, axis=0)])
        prepared = jax.device_put(prepared, sharding)
    return _features(network, prepared)


def values_of(
    metrics: tuple[ImageMetric, ...],
    networks: Networks,
    batch: Batch,
    features: Mapping[Any, Array],
) -> Mapping[str, Sequence[float]]:
    """The value of each metric for the images of a batch, by the metric's name."""
    columns = dict(batch.columns)
    count = len(next(iter(columns.values())))
    rows = [
        {
            "features": features[m.network][:count] if "features" in m.inputs else None,
            "network": None if "features" in m.inputs else networks.get(m.network),
        }
        for m in metrics
    ]
    found = jax.device_get(_values(columns, rows, metrics=metrics))
    names = len(batch.names)
    return {key: np.asarray(v, float)[:names].tolist() for key, v in found.items()}


def _values_of(
    columns: Mapping[str, Array],
    rows: Sequence[Mapping[str, Any]],
    *,
    metrics: tuple[ImageMetric, ...],
) -> dict[str, Array]:
    found = {}
    for metric, row in zip(metrics, rows, strict=True):
        function = metric.function
        if row["network"] is not None:
            function = partial(function, row["network"])
        inputs = {**columns, "features": row["features"]}
        found[metric.name] = jax.vmap(function)(*map(inputs.get, metric.inputs))
    return found


_values = tuned_jit(_values_of, static_argnames="metrics")


@tuned_jit
def _prepared(network: Any, images: Array) -> Array:
    return jax.vmap(network.prepare)(images)


@tuned_jit
def _features(network: Any, prepared: Array) -> Array:
    return jax.vmap(network.features)(prepared)
