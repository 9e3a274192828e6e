"""What was measured, and how: an operator, its measurement, and the noise in it."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.operators.base import Damping, Operator
from pigdm_jax.pytree import pytree_class
from pigdm_jax.types import Image, Measurement, Number, PRNGKey, Scalar


@pytree_class
class Problem:
    """An inverse problem: which image x has the measurement y = h(x) + noise?

    Attributes:
      operator: h, an `Operator`.
      y: the measurement, as `operator.apply` gives it.
      noise_std: None if y is exact; else sigma_y, the standard deviation of Gaussian
        noise in y, in units of the [-1, 1] image (twice that of a [0, 1] image: the
        paper's sigma_y = 0.05 is 0.1 here). For linear operators only.
    """

    operator: Any
    y: Any
    noise_std: Any = None

    @property
    def sigma(self) -> Scalar:
        """sigma_y; 0 if y is exact."""
        if self.noise_std is None:
            return jnp.float32(0)
        return jnp.asarray(self.noise_std, jnp.float32)


def measure(
    operator: Operator,
    x: Image,
    key: PRNGKey | None = None,
    *,
    noise_std: Number | None = None,
) -> Problem:
    """Simulate a measurement of a clean image.

    Args:
      operator: the measurement.
      x: the image, (height, width, channels) in [-1, 1].
      key: a `jax.random` key of the noise; needed if there is any.
      noise_std: standard deviation of Gaussian noise to add to every measured value, in
        units of the [-1, 1] image; None for an exact measurement.

    Raises:
      ValueError: if x is not of the operator's shape, or there is noise and no key, or
        a non-linear operator.
    """
    if np.shape(x) != operator.image_shape:
        raise ValueError(
            f"the image has shape {np.shape(x)}, the operator's images are "
            f"{operator.image_shape}"
        )
    y = operator.apply(jnp.asarray(x, jnp.float32))
    if noise_std is None:
        return Problem(operator, y)
    if key is None:
        raise ValueError("a measurement with noise needs a key")
    leaves, tree = jax.tree.flatten(y)
    keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]
    noisy = [
        leaf + noise_std * jax.random.normal(k, leaf.shape)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    problem = Problem(operator, jax.tree.unflatten(tree, noisy), noise_std)
    check_problem(problem)
    return problem


class Needs(NamedTuple):
    """What a sampler or guidance asks of a problem; checked before anything runs.

    Attributes:
      linear: the operator is linear.
      spectrum: it is linear, with known singular values.
      differentiable: its gradient tells how the measurement changes.
      noise: "scalar" for a noise level of one number or none; "spectrum": such a level
        needs known singular values too; "any" for no demand.
    """

    linear: bool = False
    spectrum: bool = False
    differentiable: bool = False
    noise: Literal["any", "scalar", "spectrum"] = "any"


def check_needs(name: str, needs: Needs, problem: Problem) -> None:
    """Refuse a problem that a sampler can do nothing with.

    Args:
      name: of the sampler.
      needs: what it needs.
      problem: a valid one.

    Raises:
      ValueError: in one sentence.
    """
    operator = problem.operator
    if needs.linear and not operator.linear:
        raise ValueError(
            f"{name} needs a linear operator; use ddim with pseudoinverse guidance"
        )
    if needs.differentiable and not operator.differentiable:
        raise ValueError(
            f"{name} needs a measurement with a gradient, and this one rounds; use ddim"
        )
    if needs.spectrum and operator.spectrum is None:
        raise ValueError(
            f"{name} needs an operator whose singular values are known; use ddim"
        )
    noisy = problem.noise_std is not None and _may_be_positive(problem.noise_std)
    if needs.noise == "spectrum" and noisy and operator.spectrum is None:
        raise ValueError(
            f"a noise level with {name} needs an operator whose singular values are "
            "known; use ddim"
        )


def check_problem(problem: Problem) -> None:
    """Refuse what is no problem.

    Raises:
      TypeError: if the operator is no `Operator`.
      ValueError: in one sentence, if the measurement's shape is not the operator's, or
        the noise level is no finite number from 0 on, or the operator cannot have one.
    """
    operator = problem.operator
    if not isinstance(operator, Operator):
        raise TypeError(
            f"a Problem's operator is a pigdm_jax.Operator, got {operator!r:.80}"
        )
    given = jax.tree.map(jnp.shape, problem.y)
    if given != operator.measurement_shape:
        raise ValueError(
            f"the measurement has shape {given}, this operator on images "
            f"{operator.image_shape} gives {operator.measurement_shape}"
        )
    noise_std = problem.noise_std
    if noise_std is None:
        return
    if len(jax.tree.leaves(noise_std)) != 1 or np.ndim(noise_std) != 0:
        raise ValueError(
            "noise_std is None or one number, the standard deviation of each value of y"
        )
    traced = isinstance(noise_std, jax.core.Tracer)
    if not traced and not 0 <= float(noise_std) < np.inf:
        raise ValueError(
            f"noise_std must be a finite number from 0 on, got {noise_std}"
        )
    if not operator.linear and _may_be_positive(noise_std):
        raise ValueError(
            "a noise level needs a linear operator, whose pseudoinverse can be damped; "
            "for this one use noise_std=None, or restore the linear part alone"
        )


def _may_be_positive(noise_std: Any) -> bool:
    return isinstance(noise_std, jax.core.Tracer) or float(noise_std) > 0


def difference(problem: Problem, x: Image) -> Measurement:
    """The residual y - h(x)."""
    return jax.tree.map(jnp.subtract, problem.y, problem.operator.apply(x))


def pinv_residual(problem: Problem, x: Image, damping: Damping) -> Image:
    """The image h+(y) - h+(h(x)); the damping is for linear operators."""
    operator = problem.operator
    if operator.linear:
        return operator.pinv(difference(problem, x), damping)
    return operator.pinv(problem.y) - operator.pinv(operator.apply(x))


def proximal(problem: Problem, x0: Image, strength: Scalar) -> Image:
    """argmin_x ||y - H x||^2 + sigma_y^2 strength ||x - x0||^2.

    That is x0 + H^T (H H^T + sigma_y^2 strength I)^-1 (y - H x0); for a non-linear
    operator, which has no noise, the projection x0 + h+(y) - h+(h(x0)).
    """
    return x0 + pinv_residual(problem, x0, problem.sigma**2 * strength)


def root_mean_square(y: Measurement) -> Scalar:
    """Root mean square over all entries of all arrays of a measurement."""
    leaves = jax.tree.leaves(y)
    return jnp.sqrt(
        sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    )


def measurement_residual(problem: Problem, x: Image) -> Scalar:
    """Root mean square of y - h(x), in the measurement's own units."""
    return root_mean_square(difference(problem, x))


def project(problem: Problem, x: Image) -> Image:
    """The image x + h+(y) - h+(h(x)): the nearest to x that measures y, for linear h.

    For quantising operators it moves x into the measured level and keeps its place
    within the level.

    Args:
      problem: its measurement is taken for exact.
      x: an image.
    """
    return x + pinv_residual(problem, x, 0.0)
