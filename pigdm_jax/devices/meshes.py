"""Meshes of devices, and how arrays and priors are placed on them."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from pigdm_jax.core.checks import check_count, given
from pigdm_jax.priors.base import Prior, check_prior

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
    devices = jax.devices() if devices is None else devices
    devices = list(devices) if isinstance(devices, Iterable) else [devices]
    wrong = [device for device in devices if not isinstance(device, jax.Device)]
    if wrong or not devices:
        raise TypeError(
            "devices must be a list of jax.Device, got "
            f"{given(wrong[0] if wrong else devices)}"
        )
    check_count("model", model)
    if len(devices) % model:
        raise ValueError(
            f"model must divide the number of devices, {len(devices)}; got {model}"
        )
    grid = np.array(devices).reshape(-1, model)
    return Mesh(grid, (BATCH, MODEL), axis_types=(AxisType.Auto, AxisType.Auto))


def place_prior(prior: Prior, mesh: Mesh) -> Prior:
    """The prior on the mesh: large weights spread over "model", the rest copied.

    Spread along the longest axis that "model" divides; XLA gathers each where it is
    used, so that no device ever holds them all. A mesh without such an axis has a copy
    of them on every device.
    """
    check_prior(prior)
    mesh, _ = auto_mesh(mesh, None)
    size = mesh.shape.get(MODEL, 1)

    def place(leaf: Any) -> Array:
        axes = [i for i, n in enumerate(np.shape(leaf)) if n % size == 0]
        spec: list[str | None] = [None] * np.ndim(leaf)
        if size > 1 and axes and np.size(leaf) >= SMALLEST_SHARDED:
            spec[max(axes, key=lambda i: np.shape(leaf)[i])] = MODEL
        return put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

    return jax.tree.map(place, prior)


def auto_mesh(mesh: Mesh | None, axis: str | None) -> tuple[Mesh, str]:
    """The mesh with its axes as Auto, and the axis that images are spread over.

    Raises:
      ValueError: if the mesh has no such axis.
    """
    mesh = make_mesh() if mesh is None else mesh
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {given(mesh)}")
    axis = mesh.axis_names[0] if axis is None else axis
    if not isinstance(axis, str) or axis not in mesh.axis_names:
        raise ValueError(
            f"the mesh has the axes {', '.join(map(str, mesh.axis_names))}, not "
            f"{given(axis)}"
        )
    types = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=types), axis


def copied(tree: PyTree, mesh: Mesh) -> PyTree:
    """The arrays, whole, on every device."""
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: put(jnp.asarray(leaf), whole), tree)


def put(leaf: Any, sharding: NamedSharding) -> Array:
    """An array that all processes hold alike, as one over all their devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding))
    whole = np.asarray(leaf)
    return jax.make_array_from_process_local_data(sharding, whole, whole.shape)


def placed(prior: Prior, mesh: Mesh) -> Prior:
    """The prior on the mesh, as it is if it has been placed there."""
    there = all(
        isinstance(getattr(leaf, "sharding", None), NamedSharding)
        and leaf.sharding.mesh == mesh
        for leaf in jax.tree.leaves(prior)
    )
    return prior if there else place_prior(prior, mesh)
