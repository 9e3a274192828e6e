"""Batches over devices: a mesh, where arrays lie on it, and `restore_batch`."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from pigdm_jax.compilation import compiler_options, tuned_jit
from pigdm_jax.operators.base import Operator
from pigdm_jax.prior import Prior
from pigdm_jax.restore import check_request, restore
from pigdm_jax.sampler import Trace
from pigdm_jax.types import AnyArray, Measurement

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
        return _put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

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
    matter. Where a mesh spans several processes, each passes the whole batch and holds
    its devices' part of the result. A batch that the devices do not divide is filled up
    with copies of its last image, which are dropped. Compiled once for each B, shape
    and set of words.

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
    fill = -count % mesh.shape[BATCH]
    mapped = (None if shared else operators, ys, keys, labels)
    mapped = _spread(jax.tree.map(lambda leaf: _filled(leaf, fill), mapped), mesh)
    traced, words = _sorted_out(first, options)
    out = _run_batch(
        _placed(prior, mesh),
        operators if shared else None,
        mapped,
        traced,
        words=words,
        restore_one=restore,
        out=_over_batch(mesh),
    )
    return jax.tree.map(lambda leaf: leaf[:count], out)


class BatchProgram(NamedTuple):
    """A batch's program, compiled before its images are there; see `compile_batch`.

    Attributes:
      count: how many images it takes.
      device_bytes: memory that it needs on each device, by XLA's own analysis.
      compiled: the program.
      arguments: its first ones: prior and shared operator.
      traced: its last one: the options that are numbers.
      mesh: the devices.
    """

    count: int
    device_bytes: int
    compiled: jax.stages.Compiled
    arguments: tuple[Prior, Operator | None]
    traced: dict[str, Any]
    mesh: Mesh

    def __call__(self, operators: Operator | None, ys: PyTree, keys: AnyArray) -> Any:
        """Start it on as many measurements, keys and, unless shared, operators."""
        mapped = _spread((operators, ys, keys, None), self.mesh)
        return self.compiled(*self.arguments, mapped, self.traced)


def compile_batch(
    prior: Prior,
    operator: Operator,
    count: int,
    *,
    mesh: Mesh,
    own_operators: bool = False,
    restore_one: Callable[..., Any] = restore,
    **options: Any,
) -> BatchProgram:
    """What `restore_batch` runs, compiled for images that are yet to come.

    Args:
      prior: the diffusion model.
      operator: of every image; with `own_operators` one like theirs.
      count: images in the batch, brought up to a multiple of what the mesh divides.
      mesh: from `make_mesh`.
      own_operators: whether each image brings its own operator.
      restore_one: called with prior, operator, y, key and options in the place of
        `restore`.
      **options: as `restore_one` takes them.

    Raises:
      ValueError: as `restore`.
    """
    y = blank_measurement(operator)
    check_request(prior, operator, y, **options)
    count += -count % mesh.shape[BATCH]
    key = jax.eval_shape(lambda: jax.random.key(0))
    mapped = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (count, *leaf.shape), leaf.dtype, sharding=_over_batch(mesh)
        ),
        (jax.eval_shape(lambda: operator) if own_operators else None, y, key, None),
    )
    traced, words = _sorted_out(operator, options)
    arguments = (_placed(prior, mesh), None if own_operators else operator)
    # A function of its own, so that JAX's caches let go of it with the program: on CPUs
    # a process has room for some twenty.
    run = partial(_batch, words=words, restore_one=restore_one, out=_over_batch(mesh))
    lowered = jax.jit(run).lower(*arguments, mapped, traced)
    compiled = lowered.compile(compiler_options())
    sizes = compiled.memory_analysis()
    device_bytes = (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )
    return BatchProgram(count, device_bytes, compiled, arguments, traced, mesh)


def blank_measurement(operator: Operator) -> Measurement:
    """A measurement of the operator's kind and shape, of zeros."""
    like = jax.eval_shape(lambda: operator.apply(jnp.zeros(operator.image_shape)))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)


def _batch(
    prior: Prior,
    shared: Operator | None,
    mapped: tuple,
    traced: dict[str, Any],
    *,
    words: tuple,
    restore_one: Callable[..., Any],
    out: NamedSharding,
) -> Any:
    def one(operator: Any, y: Any, key: Any, label: Any) -> Any:
        own = prior if label is None else dataclasses.replace(prior, label=label)
        operator = shared if operator is None else operator
        return restore_one(own, operator, y, key, **traced, **dict(words))

    images = jax.vmap(one)(*mapped)
    return jax.lax.with_sharding_constraint(images, out)


_run_batch = tuned_jit(_batch, static_argnames=("words", "restore_one", "out"))


def _sorted_out(operator: Operator, options: dict[str, Any]) -> tuple[dict, tuple]:
    """The options that are numbers, for the program to take, and the others."""
    if not operator.linear:
        # It is 0, which a traced number could not show.
        options = {k: v for k, v in options.items() if k != "noise_std"}
    words = {name: value for name, value in options.items() if _is_static(value)}
    traced = {name: options[name] for name in options if name not in words}
    return traced, tuple(sorted(words.items()))


def _is_static(value: Any) -> bool:
    """Whether an option is a word or a whole number, and not an array or a level."""
    return isinstance(value, str | bool | int | None) or callable(value)


def _measures(operator: Operator, y: PyTree) -> bool:
    """Whether an operator gives such measurements; a stack of them does not."""
    try:
        return operator.measurement_shape == jax.tree.map(jnp.shape, y)
    except (TypeError, ValueError):
        return False


def operator_form(operator: Operator) -> Hashable:
    """Kind and shapes; operators with the same can share a batch."""
    leaves, kind = jax.tree.flatten(operator)
    return kind, tuple(np.shape(leaf) for leaf in leaves)


def _stacked(operators: Sequence[Operator]) -> Operator:
    """B operators as one with a first axis of B on every leaf.

    Raises:
      ValueError: if they are not of one kind and shape.
    """
    if len({operator_form(operator) for operator in operators}) > 1:
        raise ValueError(
            "the operators of a batch must be of one kind and shape; restore others in "
            "a batch of their own"
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *operators)


def _filled(leaf: AnyArray, fill: int) -> Array:
    """The array with its last row repeated `fill` times."""
    leaf = jnp.asarray(leaf)
    if not fill:
        return leaf
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], fill, axis=0)])


def _over_batch(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(BATCH))


def _spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """A batch's arrays, each device with its part of them."""
    return jax.tree.map(lambda leaf: _put(leaf, _over_batch(mesh)), tree)


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    """An array that all processes hold alike, as one over all their devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])


def _placed(prior: Prior, mesh: Mesh) -> Prior:
    """The prior on the mesh, as it is if it has been placed there."""
    there = all(
        isinstance(getattr(leaf, "sharding", None), NamedSharding)
        and leaf.sharding.mesh == mesh
        for leaf in jax.tree.leaves(prior)
    )
    return prior if there else place_prior(prior, mesh)
