"""Batches over devices: a mesh, where arrays lie on it, and `restore_batch`."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from pigdm_jax.core.checks import as_float32
from pigdm_jax.core.compilation import compiled_for, tuned_jit
from pigdm_jax.core.executables import Executable
from pigdm_jax.core.types import AnyArray, Image, Number
from pigdm_jax.devices.meshes import auto_mesh, copied, placed, put
from pigdm_jax.operators.base import Operator
from pigdm_jax.operators.solve import is_number
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem
from pigdm_jax.restoration import check_request, consistency, sample
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
    mesh, axis = auto_mesh(mesh, axis)
    if not isinstance(problems, Problem):
        problems = _stacked(problems)
    conditions = dict(conditions or {})
    count = len(keys)
    _check_counts(count, problems, shared_operator, conditions, init)
    shared, mapped = _apart(problems, shared_operator)
    first = _joined(shared, jax.tree.map(lambda leaf: leaf[0], mapped))
    example = prior.condition(**{name: v[0] for name, v in conditions.items()})
    sampler = check_request(example, first, sampler)
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
            finish=_image_and_trace if trace else _image,
            out=sharding,
        )
        return jax.tree.map(lambda leaf: leaf[:count], out)


class BatchProgram(NamedTuple):
    """A batch's program, compiled before its images are there; see `compile_batch`.

    Attributes:
      count: how many images it takes.
      device_bytes: memory that it needs on each device, by XLA's own analysis.
      compiled: the program.
      prior: placed on the mesh.
      shared: what of the problems all images share.
      sampler: how it samples.
      sharding: of the images over the devices.
    """

    count: int  # type: ignore[assignment]  # not tuple.count
    device_bytes: int
    compiled: Executable
    prior: Prior
    shared: Problem
    sampler: Sampler
    sharding: NamedSharding

    def __call__(self, operators: Operator | None, ys: PyTree, keys: AnyArray) -> Any:
        """Start it on as many measurements, keys and, unless shared, operators."""
        mapped = Problem(operators, ys, None)
        mapped = jax.tree.map(
            lambda leaf: put(leaf, self.sharding), (mapped, keys, {}, None)
        )
        arguments = self.prior, self.shared, mapped, as_float32(self.sampler)
        return self.compiled(jax.tree.leaves(arguments))


Finish = Callable[[Problem, Image, Trace], Any]
"""What a batch's program makes of each image; called with its problem and trace."""


def _image(problem: Problem, image: Image, trace: Trace) -> Image:
    del problem, trace
    return image


def _image_and_trace(
    problem: Problem, image: Image, trace: Trace
) -> tuple[Image, Trace]:
    return image, trace._replace(consistency=consistency(problem))


def compile_batch(
    prior: Prior,
    problem: Problem,
    count: int,
    sampler: Sampler | None = None,
    *,
    mesh: Mesh,
    own_operators: bool = False,
    finish: Finish = _image,
) -> BatchProgram:
    """What `restore_batch` runs, compiled for images that are yet to come.

    Args:
      prior: the diffusion model.
      problem: like that of every image; its operator and noise level are theirs.
      count: images in the batch, brought up to a multiple of what the mesh divides.
      sampler: how to sample; None is `pigdm_jax.samplers.default`.
      mesh: images are spread over its first axis.
      own_operators: whether each image brings its own operator.
      finish: what to make of each image.

    Raises:
      ValueError: as `restore`.
    """
    sampler = check_request(prior, problem, sampler)
    mesh, axis = auto_mesh(mesh, None)
    sharding = NamedSharding(mesh, PartitionSpec(axis))
    count += -count % mesh.shape[axis]
    shared, own = _apart(problem, shared_operator=not own_operators)
    one = jax.eval_shape(lambda: (own, jax.random.key(0), {}, None))
    mapped = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (count, *leaf.shape), leaf.dtype, sharding=sharding
        ),
        one,
    )
    prior, shared = placed(prior, mesh), copied(shared, mesh)

    # A function of its own, so that JAX's caches let go of it with the program: on CPUs
    # a process has room for some twenty.
    def run(prior: Prior, shared: Problem, mapped: Any, sampler: Sampler) -> Any:
        return _batch(
            prior, shared, mapped, sampler, init=None, finish=finish, out=sharding
        )

    compiled = compiled_for(
        run,
        (prior, shared, mapped, as_float32(sampler)),
        (finish.__module__, finish.__qualname__, mesh.shape_tuple, axis),
    )
    sizes = compiled.compiled.memory_analysis()
    assert sizes is not None  # every platform's compiler gives it
    device_bytes = (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )
    return BatchProgram(count, device_bytes, compiled, prior, shared, sampler, sharding)


def blank_problem(operator: Operator, noise_std: Number | None = None) -> Problem:
    """A problem of the operator's kind and shape, whose measurement is zeros."""
    like = jax.eval_shape(lambda: operator.apply(jnp.zeros(operator.image_shape)))
    y = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return Problem(operator, y, noise_std)


def _batch(
    prior: Prior,
    shared: Problem,
    mapped: tuple[Problem, AnyArray, dict[str, AnyArray], AnyArray | None],
    sampler: Sampler,
    *,
    init: str | None,
    finish: Finish,
    out: NamedSharding,
) -> Any:
    def one(own: Problem, key: Any, conditions: dict[str, Any], image: Any) -> Any:
        problem = _joined(shared, own)
        conditioned = prior.condition(**conditions) if conditions else prior
        start = init if image is None else image
        result = sample(conditioned, problem, key, sampler, init=start)
        return finish(problem, *result)

    images = jax.vmap(one)(*mapped)
    return jax.lax.with_sharding_constraint(images, out)


_run_batch = tuned_jit(_batch, static_argnames=("init", "finish", "out"))


def _apart(problems: Problem, shared_operator: bool) -> tuple[Problem, Problem]:
    """What all images share, and what each has of its own; None stands for the rest."""
    operator, y, noise_std = problems.operator, problems.y, problems.noise_std
    shared_noise = noise_std is not None and is_number(noise_std)
    shared = Problem(
        operator if shared_operator else None,
        None,
        jnp.float32(noise_std) if shared_noise else None,
    )
    own = Problem(
        None if shared_operator else operator, y, None if shared_noise else noise_std
    )
    return shared, own


def _joined(shared: Problem, own: Problem) -> Problem:
    """One image's problem."""
    return Problem(
        own.operator if shared.operator is None else shared.operator,
        own.y,
        own.noise_std if shared.noise_std is None else shared.noise_std,
    )


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


def _stacked(problems: Sequence[Problem]) -> Problem:
    """B problems as one with a first axis of B on every leaf.

    Raises:
      ValueError: if there is none, or they are not of one kind and shape.
    """
    problems = list(problems)
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
