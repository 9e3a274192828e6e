"""What was measured, and how: an operator, its measurement, and the noise in it."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image, Measurement, Number, PRNGKey, Scalar
from pigdm_jax.operators.base import Operator
from pigdm_jax.operators.solve import damped_pinv, is_number


@pytree_class
class Problem:
    """An inverse problem: which image x has the measurement y = h(x) + noise?

    Attributes:
      operator: h, an `Operator`.
      y: the measurement, as `operator.apply` gives it.
      noise_std: None if y is exact; else the standard deviation of Gaussian noise in y,
        sigma_y, in units of the [-1, 1] image (twice that of a [0, 1] image: the
        paper's sigma_y = 0.05 is 0.1 here): one number, or in y's form one above 0 for
        every value. For linear operators only.
    """

    operator: Any
    y: Any
    noise_std: Any = None

    @property
    def noise_per_value(self) -> bool:
        """Whether every value of y has noise of its own."""
        return self.noise_std is not None and not is_number(self.noise_std)

    @property
    def sigma(self) -> Scalar:
        """sigma_y, where it is one number; 0 if y is exact.

        Raises:
          ValueError: if every value has noise of its own.
        """
        if self.noise_per_value:
            raise ValueError(
                "every value of y has noise of its own, so there is no one"
            )
        if self.noise_std is None:
            return jnp.float32(0)
        return jnp.asarray(self.noise_std, jnp.float32)


def measure(
    operator: Operator,
    x: Image,
    key: PRNGKey | None = None,
    *,
    noise_std: Any = None,
) -> Problem:
    """Simulate a measurement of a clean image.

    Args:
      operator: the measurement.
      x: the image, (height, width, channels) in [-1, 1].
      key: a `jax.random` key of the noise; needed if there is any.
      noise_std: standard deviation of Gaussian noise to add to every measured value, in
        units of the [-1, 1] image: one number, or in the measurement's form one for
        every value; None for an exact measurement.

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
    problem = Problem(operator, y, noise_std)
    check_problem(problem)
    leaves, tree = jax.tree.flatten(y)
    keys = jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]
    levels = jax.tree.leaves(noise_std)
    if not problem.noise_per_value:
        levels *= len(leaves)
    noisy = [
        leaf + level * jax.random.normal(k, leaf.shape)
        for k, leaf, level in zip(keys, leaves, levels, strict=True)
    ]
    return dataclasses.replace(problem, y=jax.tree.unflatten(tree, noisy))


class Needs(NamedTuple):
    """What a sampler or guidance asks of a problem; checked before anything runs.

    Attributes:
      linear: the operator is linear.
      spectrum: it is linear, with known singular values.
      differentiable: its gradient tells how the measurement changes.
      noise: "scalar" for a noise level of one number or none; "spectrum": such a level
        needs known singular values too; "any" also for a level for every value.
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
    if needs.noise != "any" and problem.noise_per_value:
        raise ValueError(
            f"{name} takes one noise level for all measured values; use fitted or ddim"
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
      ValueError: in one sentence, if the measurement's shape is not the operator's, it
        is not finite, or the noise level is none or not for such an operator.
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
    if not all(np.isfinite(leaf).all() for leaf in _known(problem.y)):
        raise ValueError("the measurement holds NaN or infinite values")
    noise_std = problem.noise_std
    if noise_std is None:
        return
    if problem.noise_per_value:
        _check_noise_per_value(problem)
    elif not all(0 <= float(level) < np.inf for level in _known(noise_std)):
        raise ValueError(
            f"noise_std must be a finite number from 0 on, got {noise_std}"
        )
    if not operator.linear and _may_be_positive(noise_std):
        raise ValueError(
            "a noise level needs a linear operator, whose pseudoinverse can be damped; "
            "for this one use noise_std=None, or restore the linear part alone"
        )


def _known(tree: Any) -> list[np.ndarray]:
    """The arrays of a pytree whose values are known, being not traced."""
    leaves = jax.tree.leaves(tree)
    return [np.asarray(a) for a in leaves if not isinstance(a, jax.core.Tracer)]


def _check_noise_per_value(problem: Problem) -> None:
    """Refuse noise levels that are not one above 0 for every value of y.

    Raises:
      ValueError: in one sentence.
    """
    given = jax.tree.map(jnp.shape, problem.noise_std)
    expected = jax.tree.map(jnp.shape, problem.y)
    if given != expected:
        raise ValueError(
            "noise_std is None, one number, or a standard deviation for every value of "
            f"y: y has the shape {expected}, noise_std {given}"
        )
    if not all(
        (a > 0).all() and np.isfinite(a).all() for a in _known(problem.noise_std)
    ):
        raise ValueError(
            "a noise_std for every value must be finite and above 0; give an exact "
            "value a small one"
        )


def _may_be_positive(noise_std: Any) -> bool:
    leaves = jax.tree.leaves(noise_std)
    return len(_known(leaves)) < len(leaves) or any(
        (a > 0).any() for a in _known(leaves)
    )


def difference(problem: Problem, x: Image) -> Measurement:
    """The residual y - h(x)."""
    return jax.tree.map(jnp.subtract, problem.y, problem.operator.apply(x))


def pinv_residual(problem: Problem, x: Image, variance: Number) -> Image:
    """The image h+(y) - h+(h(x)), damped by the noise over a variance if h is linear.

    Args:
      problem: what was measured.
      x: an image.
      variance: r_t^2, how far x is expected to be from the truth.
    """
    operator = problem.operator
    if operator.linear:
        return damped_pinv(
            operator, difference(problem, x), problem.noise_std, variance
        )
    return operator.pinv(problem.y) - operator.pinv(operator.apply(x))


def proximal(problem: Problem, x0: Image, variance: Number) -> Image:
    """argmin_x ||y - H x||^2 / sigma_y^2 + ||x - x0||^2 / variance.

    That is x0 + H^T (H H^T + sigma_y^2 / variance I)^-1 (y - H x0); for a non-linear
    operator, which has no noise, the projection x0 + h+(y) - h+(h(x0)).
    """
    return x0 + pinv_residual(problem, x0, variance)


def root_mean_square(y: Measurement) -> Scalar:
    """Root mean square over all entries of all arrays of a measurement."""
    leaves = jax.tree.leaves(y)
    return jnp.sqrt(
        sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    )


def measurement_residual(problem: Problem, x: Image) -> Scalar:
    """Root mean square of y - h(x), in the measurement's own units."""
    return root_mean_square(difference(problem, x))
