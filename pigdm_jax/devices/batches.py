"""Batches over devices: a mesh, where arrays lie on it, and `restore_batch`."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from pigdm_jax.core.arrays import check_finite, check_key
from pigdm_jax.core.checks import as_float32, check_flag, given
from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.core.types import AnyArray
from pigdm_jax.devices.meshes import auto_mesh, copied, placed, put
from pigdm_jax.devices.programs import (
    apart,
    batch_of,
    image_alone,
    image_and_trace,
    joined,
)
from pigdm_jax.operators.solve import is_number
from pigdm_jax.priors.base import Prior, check_prior
from pigdm_jax.problem import Problem, check_values
from pigdm_jax.restoration import check_request
from pigdm_jax.samplers import Sampler, Trace


def restore_batch(
    prior: Prior,
    problems: Problem | Sequence[Problem],
    keys: AnyArray,
    sampler: Sampler | None = None,
    *,
    mesh: Mesh | None = None,
    axis: str | None = None,
    shared_operator: bool = False,
    conditions: Mapping[str, AnyArray] | None = None,
    init: str | Float[AnyArray, "B H W C"] | None = None,
    trace: bool = False,
) -> Float[Array, "B H W C"] | tuple[Float[Array, "B H W C"], Trace]:
    """`restore` for B images at once, over the devices of a mesh.

    Each image gets what `restore` would give it alone, up to the rounding of float32
    sums: its neighbours, its place in the batch and the number of devices do not
    matter. Where a mesh spans several processes, each passes the whole batch and holds
    its devices' part of the result. A batch that the devices do not divide is filled up
    with copies of its last image, which are dropped. Compiled once for each B, shape
    and choice of static fields.

    Args:
      prior: the diffusion model; placed by `place_prior`, or it is here.
      problems: B of one kind and shape, in a list or stacked by `jax.vmap`: every leaf
        has a first axis of B. A `noise_std` that is one number is for all of them.
      keys: B `jax.random` keys.
      sampler: how to sample, the same for all; None is `pigdm_jax.samplers.default`.
      mesh: any mesh; all devices, if not given. Its axes are treated as Auto.
      axis: the axis of the mesh that images are spread over; its first, if not given.
      shared_operator: whether the operator of `problems` is one for all images and has
        no axis of B. It is then not copied for each of them.
      conditions: arrays of B values that `prior.condition` takes, by name:
        {"label": labels}.
      init: as `restore` takes it; images have a first axis of B.
      trace: also return the traces.

    Returns:
      The images; with `trace=True` a pair of them and their traces.

    Raises:
      TypeError: as `restore`.
      ValueError: as `restore`, or if problems, keys and conditions are not equally
        many, or the mesh has no such axis.
    """
    check_prior(prior)
    check_flag("shared_operator", shared_operator)
    check_flag("trace", trace)
    mesh, axis = auto_mesh(mesh, axis)
    if not isinstance(problems, Problem):
        problems = _stacked(problems)
    conditions = _as_conditions(conditions)
    count = _count(problems, keys)
    check_key("keys", keys, (count,))
    _check_counts(count, problems, shared_operator, conditions, init)
    shared, mapped = apart(problems, shared_operator)
    first = joined(shared, jax.tree.map(lambda leaf: leaf[0], mapped))
    example = prior.condition(**{name: v[0] for name, v in conditions.items()})
    sampler = check_request(example, first, sampler, _first(init))
    check_values(problems, first.noise_per_value)
    if init is not None and not isinstance(init, str):
        check_finite("init", init)
    images = None if init is None or isinstance(init, str) else init
    fill = -count % mesh.shape[axis]
    sharding = NamedSharding(mesh, PartitionSpec(axis))
    mapped = jax.tree.map(
        lambda leaf: put(_filled(leaf, fill), sharding),
        (mapped, keys, conditions, images),
    )
    # The user may have set a mesh with other kinds of axes.
    with jax.set_mesh(mesh):
        out = _run_batch(
            placed(prior, mesh),
            copied(shared, mesh),
            mapped,
            as_float32(sampler),
            init=init if isinstance(init, str) else None,
            finish=image_and_trace if trace else image_alone,
            out=sharding,
        )
        return jax.tree.map(lambda leaf: leaf[:count], out)


_run_batch = tuned_jit(batch_of, static_argnames=("init", "finish", "out"))


def _as_conditions(
    conditions: Mapping[str, AnyArray] | None,
) -> dict[str, AnyArray]:
    """The conditions as a dictionary.

    Raises:
      TypeError: if they are not by name.
    """
    if not isinstance(conditions, Mapping | None):
        raise TypeError(
            "conditions must be a dictionary of arrays by name, got "
            f"{given(conditions)}"
        )
    return dict(conditions or {})


def _count(problems: Problem, keys: AnyArray) -> int:
    """The number of keys; of measurements, if there is one key alone."""
    ys = jax.tree.leaves(problems.y) if np.ndim(keys) == 0 else [keys]
    return np.shape(ys[0])[0] if ys and np.ndim(ys[0]) else 1


def _check_counts(
    count: int,
    problems: Problem,
    shared_operator: bool,
    conditions: dict[str, AnyArray],
    init: Any,
) -> None:
    """Refuse a batch whose parts are not equally many.

    Raises:
      ValueError: that says how many of each there are.
    """
    parts = {"measurements": problems.y, **conditions}
    if not shared_operator:
        parts["operators"] = problems.operator
    if problems.noise_std is not None and not is_number(problems.noise_std):
        parts["noise levels"] = problems.noise_std
    if init is not None and not isinstance(init, str):
        parts["initial images"] = init
    counts = {"keys": {count}}
    for name, part in parts.items():
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(part)]
        if shapes:
            counts[name] = {shape[0] if shape else 0 for shape in shapes}
    if set().union(*counts.values()) == {count} and count:
        return
    given = ", ".join(f"{max(n)} {name}" for name, n in counts.items())
    hint = ""
    if counts.get("operators", {count}) != {count}:
        hint = "; pass shared_operator=True for one operator for all"
    raise ValueError(
        f"a batch needs as many of each, and one at least; got {given}{hint}"
    )


def form(tree: PyTree) -> Hashable:
    """Kind and shapes; operators and problems with the same can share a batch."""
    leaves, kind = jax.tree.flatten(tree)
    return kind, tuple(np.shape(leaf) for leaf in leaves)


def _first(init: Any) -> Any:
    """The first image of a batch; a name is for all of them."""
    return init if init is None or isinstance(init, str) else init[0]


def _stacked(problems: Sequence[Problem]) -> Problem:
    """B problems as one with a first axis of B on every leaf.

    Raises:
      TypeError: if one is no problem.
      ValueError: if there is none, or they are not of one kind and shape.
    """
    wrong = [problems]
    if isinstance(problems, list | tuple):
        wrong = [one for one in problems if not isinstance(one, Problem)]
    if wrong:
        raise TypeError(
            "problems must be a list of pigdm_jax.Problem, or one that is stacked; got "
            f"{given(wrong[0])}"
        )
    if not problems:
        raise ValueError("a batch needs one problem at least")
    if len({form(problem) for problem in problems}) > 1:
        raise ValueError(
            "the problems of a batch must be of one kind and shape; restore others in "
            "a batch of their own"
        )
    return jax.tree.map(
        lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *problems
    )


def _filled(leaf: AnyArray, fill: int) -> Array:
    """The array with its last row repeated `fill` times."""
    leaf = jnp.asarray(leaf)
    if not fill:
        return leaf
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], fill, axis=0)])
