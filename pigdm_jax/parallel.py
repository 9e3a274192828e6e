"""Batches over devices: a mesh, where arrays lie on it, and `restore_batch`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from pigdm_jax.operators.base import Operator
from pigdm_jax.prior import Prior
from pigdm_jax.restore import check_request, restore
from pigdm_jax.sampler import Trace
from pigdm_jax.types import AnyArray

BATCH, MODEL = "batch", "model"
# Arrays smaller than this are not worth spreading over devices.
SMALLEST_SHARDED = 2**14


def make_mesh(model: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices: images over "batch", weights over "model".

    Args:
      model: over how many devices each copy of the weights is spread; 1 where they fit
        into one device's memory.
      devices: all of them, if not given.

    Raises:
      ValueError: if model does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if model < 1 or len(devices) % model:
        raise ValueError(
            f"model must divide the number of devices, {len(devices)}; got {model}"
        )
    grid = np.array(devices).reshape(-1, model)
    return Mesh(grid, (BATCH, MODEL), axis_types=(AxisType.Auto, AxisType.Auto))


def place_prior(prior: Prior, mesh: Mesh) -> Prior:
    """The prior on the mesh: large weights spread over "model", the rest copied.

    Spread along the longest axis that "model" divides; XLA gathers each where it is
    used, so that no device ever holds them all.
    """
    size = mesh.shape[MODEL]

    def place(leaf: Any) -> Array:
        axes = [i for i, n in enumerate(np.shape(leaf)) if n % size == 0]
        spec = [None] * np.ndim(leaf)
        if size > 1 and axes and np.size(leaf) >= SMALLEST_SHARDED:
            spec[max(axes, key=lambda i: np.shape(leaf)[i])] = MODEL
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

    return jax.tree.map(place, prior)


def restore_batch(
    prior: Prior,
    operators: Operator | Sequence[Operator],
    ys: PyTree[Float[AnyArray, "..."]],
    keys: AnyArray,
    *,
    mesh: Mesh | None = None,
    labels: Int[AnyArray, " B"] | None = None,
    **options: Any,
) -> Float[Array, "B H W C"] | tuple[Float[Array, "B H W C"], Trace]:
    """`restore` for B images at once, over the devices of a mesh.

    Each image gets what `restore` would give it alone, up to the rounding of float32
    sums: its neighbours, its place in the batch and the number of devices do not
    matter. A batch that the devices do not divide is filled up with copies of its last
    image, which are dropped. Compiled once for each B, shape and set of words.

    Args:
      prior: the diffusion model; placed by `place_prior`, or it is here.
      operators: one for all images; or B of one kind and shape, each with its own
        mask, kernel or table, in a list or stacked by `jax.vmap`.
      ys: the measurements, stacked along a first axis of B.
      keys: B `jax.random` keys.
      mesh: from `make_mesh`; all devices, if not given.
      labels: B class indices, for a prior with classes.
      **options: as `restore` takes them, the same for all images.

    Returns:
      The images; with `trace=True` a pair of them and their traces.

    Raises:
      ValueError: as `restore`, or if operators, measurements, keys and labels are not
        equally many.
    """
    mesh = make_mesh() if mesh is None else mesh
    counts = {"measurements": len(jax.tree.leaves(ys)[0]), "keys": len(keys)}
    if labels is not None:
        counts["labels"] = len(labels)
        if getattr(prior, "label", None) is None:
            raise ValueError("labels are for a prior with classes; this one has none")
    first_y = jax.tree.map(lambda leaf: leaf[0], ys)
    if not isinstance(operators, Operator):
        counts["operators"] = len(operators)
        operators = _stacked(operators)
    shared = _measures(operators, first_y)
    first = operators if shared else jax.tree.map(lambda leaf: leaf[0], operators)
    count = counts["keys"]
    if len(set(counts.values())) > 1 or not count:
        given = ", ".join(f"{n} {name}" for name, n in counts.items())
        raise ValueError(
            f"a batch needs as many of each, and one at least; got {given}"
        )
    check_request(prior, first, first_y, **options)
    if not first.linear:
        # It is 0, which a traced number could not show.
        options.pop("noise_std", None)

    fill = -count % mesh.shape[BATCH]
    over_batch = NamedSharding(mesh, PartitionSpec(BATCH))
    mapped = (None if shared else operators, ys, keys, labels)
    mapped = jax.tree.map(
        lambda leaf: jax.device_put(_filled(jnp.asarray(leaf), fill), over_batch),
        mapped,
    )
    if not _on(prior, mesh):
        prior = place_prior(prior, mesh)
    static = {name: value for name, value in options.items() if _is_static(value)}
    traced = {name: options[name] for name in options if name not in static}
    out = _run_batch(
        prior,
        operators if shared else None,
        mapped,
        traced,
        static=tuple(sorted(static.items())),
        out=over_batch,
    )
    return jax.tree.map(lambda leaf: leaf[:count], out)


@partial(jax.jit, static_argnames=("static", "out"))
def _run_batch(
    prior: Prior,
    shared: Operator | None,
    mapped: tuple,
    traced: dict[str, Any],
    *,
    static: tuple,
    out: NamedSharding,
) -> Any:
    def one(operator: Any, y: Any, key: Any, label: Any) -> Any:
        own = prior if label is None else dataclasses.replace(prior, label=label)
        operator = shared if operator is None else operator
        return restore(own, operator, y, key, **traced, **dict(static))

    images = jax.vmap(one)(*mapped)
    return jax.lax.with_sharding_constraint(images, out)


def _is_static(value: Any) -> bool:
    """Whether an option is a word or a whole number, and not an array or a level."""
    return isinstance(value, str | bool | int | None) or callable(value)


def _measures(operator: Operator, y: PyTree) -> bool:
    """Whether an operator gives such measurements; a stack of them does not."""
    try:
        return operator.measurement_shape == jax.tree.map(jnp.shape, y)
    except (TypeError, ValueError):
        return False


def _stacked(operators: Sequence[Operator]) -> Operator:
    """B operators as one with a first axis of B on every leaf.

    Raises:
      ValueError: if they are not of one kind and shape.
    """
    kinds = {jax.tree.structure(operator) for operator in operators}
    shapes = {
        tuple(np.shape(leaf) for leaf in jax.tree.leaves(operator))
        for operator in operators
    }
    if len(kinds) > 1 or len(shapes) > 1:
        raise ValueError(
            "the operators of a batch must be of one kind and shape; restore others in "
            "a batch of their own"
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)


def _filled(leaf: Array, fill: int) -> Array:
    """The array with its last row repeated `fill` times."""
    if not fill:
        return leaf
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], fill, axis=0)])


def _on(prior: Prior, mesh: Mesh) -> bool:
    """Whether a prior has been placed on this mesh."""
    return all(
        isinstance(getattr(leaf, "sharding", None), NamedSharding)
        and leaf.sharding.mesh == mesh
        for leaf in jax.tree.leaves(prior)
    )
