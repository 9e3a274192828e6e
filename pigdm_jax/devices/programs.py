"""The program of a batch: what all images share, and what each has of its own."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from pigdm_jax.core.checks import as_float32
from pigdm_jax.core.compilation import compiled_for, program_bytes
from pigdm_jax.core.executables import Executable
from pigdm_jax.core.types import AnyArray, Image, Number
from pigdm_jax.devices.meshes import auto_mesh, copied, placed, put
from pigdm_jax.operators.base import Operator
from pigdm_jax.operators.solve import is_number
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem
from pigdm_jax.restoration import check_request, consistency, sample
from pigdm_jax.samplers import Sampler, Trace

Finish = Callable[[Problem, Image, Trace], Any]
"""What a batch's program makes of each image; called with its problem and trace."""


def image_alone(problem: Problem, image: Image, trace: Trace) -> Image:
    """A `Finish` that returns the image alone."""
    del problem, trace
    return image


def image_and_trace(
    problem: Problem, image: Image, trace: Trace
) -> tuple[Image, Trace]:
    """A `Finish` that also returns the trace, with its consistency."""
    return image, trace._replace(consistency=consistency(problem))


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

    def __call__(
        self,
        operators: Operator | None,
        ys: PyTree,
        keys: AnyArray,
        noise_stds: AnyArray | None = None,
        conditions: Mapping[str, AnyArray] | None = None,
    ) -> Any:
        """Start it on as many measurements, keys and, unless shared, the rest."""
        mapped = Problem(operators, ys, noise_stds)
        mapped = jax.tree.map(
            lambda leaf: put(leaf, self.sharding),
            (mapped, keys, dict(conditions or {}), None),
        )
        arguments = self.prior, self.shared, mapped, as_float32(self.sampler)
        return self.compiled(jax.tree.leaves(arguments))


def compile_batch(
    prior: Prior,
    problem: Problem,
    count: int,
    sampler: Sampler | None = None,
    *,
    mesh: Mesh,
    own_operators: bool = False,
    own_noise: bool = False,
    conditions: Mapping[str, AnyArray] | None = None,
    finish: Finish = image_alone,
) -> BatchProgram:
    """What `restore_batch` runs, compiled for images that are yet to come.

    Args:
      prior: the diffusion model.
      problem: like that of every image; its operator and noise level are theirs.
      count: images in the batch, brought up to a multiple of what the mesh divides.
      sampler: how to sample; None is `pigdm_jax.samplers.default`.
      mesh: images are spread over its first axis.
      own_operators: whether each image brings its own operator.
      own_noise: whether each image brings its own noise level.
      conditions: like what each image brings for `prior.condition`, by name.
      finish: what to make of each image.

    Raises:
      ValueError: as `restore`.
    """
    sampler = check_request(prior, problem, sampler)
    conditions = dict(conditions or {})
    mesh, axis = auto_mesh(mesh, None)
    sharding = NamedSharding(mesh, PartitionSpec(axis))
    count += -count % mesh.shape[axis]
    shared, own = apart(problem, not own_operators, not own_noise)
    one = jax.eval_shape(lambda: (own, jax.random.key(0), conditions, None))
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
        return batch_of(
            prior, shared, mapped, sampler, init=None, finish=finish, out=sharding
        )

    compiled = compiled_for(
        run,
        (prior, shared, mapped, as_float32(sampler)),
        (finish.__module__, finish.__qualname__, mesh.shape_tuple, axis),
    )
    device_bytes = program_bytes(compiled.compiled)
    return BatchProgram(count, device_bytes, compiled, prior, shared, sampler, sharding)


def blank_problem(operator: Operator, noise_std: Number | None = None) -> Problem:
    """A problem of the operator's kind and shape, whose measurement is zeros."""
    like = jax.eval_shape(
        lambda: operator.apply(jnp.zeros(operator.image_shape, jnp.float32))
    )
    y = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return Problem(operator, y, noise_std)


def batch_of(
    prior: Prior,
    shared: Problem,
    mapped: tuple[Problem, AnyArray, dict[str, AnyArray], AnyArray | None],
    sampler: Sampler,
    *,
    init: str | None,
    finish: Finish,
    out: NamedSharding,
) -> Any:
    """Restore a batch by `vmap`, and finish each image."""

    def one(own: Problem, key: Any, conditions: dict[str, Any], image: Any) -> Any:
        problem = joined(shared, own)
        conditioned = prior.condition(**conditions) if conditions else prior
        start = init if image is None else image
        result = sample(conditioned, problem, key, sampler, init=start)
        return finish(problem, *result)

    images = jax.vmap(one)(*mapped)
    return jax.lax.with_sharding_constraint(images, out)


def apart(
    problems: Problem, shared_operator: bool, shared_noise: bool = True
) -> tuple[Problem, Problem]:
    """What all images share, and what each has of its own; None stands for the rest.

    Args:
      problems: of all images, or of one.
      shared_operator: whether its operator is one for all.
      shared_noise: whether its noise level, if that is one number, is one for all.
    """
    operator, y, noise_std = problems.operator, problems.y, problems.noise_std
    shared_noise = shared_noise and noise_std is not None and is_number(noise_std)
    if noise_std is not None and is_number(noise_std):
        noise_std = jnp.float32(noise_std)
    shared = Problem(
        operator if shared_operator else None,
        None,
        noise_std if shared_noise else None,
    )
    own = Problem(
        None if shared_operator else operator, y, None if shared_noise else noise_std
    )
    return shared, own


def joined(shared: Problem, own: Problem) -> Problem:
    """One image's problem."""
    return Problem(
        own.operator if shared.operator is None else shared.operator,
        own.y,
        own.noise_std if shared.noise_std is None else shared.noise_std,
    )
