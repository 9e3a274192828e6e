"""An inverse problem: an operator, its measurement, and the noise in it."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.arrays import (
    check_finite,
    is_real,
    known,
    refuse_pixels,
)
from pigdm_jax.core.checks import given
from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image, Measurement, Number, Scalar
from pigdm_jax.operators.base import Operator, check_measurement, check_operator
from pigdm_jax.operators.solve import damped_pinv, is_number

# Noise levels whose squares are neither 0 nor infinite in float32.
SMALLEST, LARGEST = 1e-18, 1e18


@pytree_class
class Problem:
    """An inverse problem: which image x has the measurement y = h(x) + noise?

    Attributes:
      operator: h, an `Operator`.
      y: the measurement, as returned by `operator.apply`.
      noise_std: sigma_y, the standard deviation of Gaussian noise in y; None if y is
        exact, and always for non-linear operators. One number, or one above 0 for every
        value, in the form of y. The unit is that of the [-1, 1] image, so it is twice
        that of a [0, 1] image: the paper's sigma_y = 0.05 is 0.1 here.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import Problem, operators
      >>> operator = operators.super_resolution((8, 8, 3), 2)
      >>> problem = Problem(operator, jnp.zeros((4, 4, 3)), noise_std=0.1)
      >>> problem.noise_per_value, round(float(problem.sigma), 4)
      (False, 0.1)
    """

    operator: Any
    y: Any
    noise_std: Any = None

    @property
    def noise_per_value(self) -> bool:
        """Whether `noise_std` is one number for every value of y."""
        return self.noise_std is not None and not is_number(self.noise_std)

    @property
    def sigma(self) -> Scalar:
        """sigma_y, if it is one number; 0 if y is exact.

        Raises:
          ValueError: if `noise_std` is one number for every value.
        """
        if self.noise_per_value:
            raise ValueError(
                "noise_std is one number for every value of y, so there is no single "
                "sigma_y"
            )
        if self.noise_std is None:
            return jnp.float32(0)
        return jnp.asarray(self.noise_std, jnp.float32)


class Needs(NamedTuple):
    """What a sampler or guidance requires of a problem; checked before it runs.

    Attributes:
      linear: the operator must be linear.
      spectrum: it must be linear with known singular values.
      differentiable: it must have a useful gradient; see `Operator.differentiable`.
      orthogonal: it must be orthogonal; see `Operator.orthogonal`.
      relaxed: it must quantise, and have a linear part; see `Operator.relaxed`.
      noise: the noise levels allowed. "any": None, one number, or one for every value;
        "scalar": None or one number; "spectrum": None, or one number if the singular
        values are known.
    """

    linear: bool = False
    spectrum: bool = False
    differentiable: bool = False
    orthogonal: bool = False
    relaxed: bool = False
    noise: Literal["any", "scalar", "spectrum"] = "any"


def check_needs(name: str, needs: Needs, problem: Problem) -> None:
    """Check that a problem is what a sampler requires.

    Args:
      name: of the sampler, for the error.
      needs: its requirements.
      problem: a problem that `check_problem` accepts.

    Raises:
      ValueError: if it does not meet one of them.
    """
    operator = problem.operator
    if needs.linear and not operator.linear:
        raise ValueError(
            f"{name} needs a linear operator; use ddim with pseudoinverse guidance"
        )
    if needs.orthogonal and not operator.orthogonal:
        raise ValueError(f"{name} can only denoise; use fitted")
    if needs.relaxed and not can_relax(problem):
        raise ValueError(
            f"{name} needs an operator that quantises, behind linear ones or alone; "
            "use fitted"
        )
    if needs.differentiable and not operator.differentiable:
        raise ValueError(
            f"{name} needs the gradient of the measurement, which is 0 for operators "
            "that quantise; use ddim"
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


def can_relax(problem: Problem) -> bool:
    """Whether the operator's quantisation can count as noise: `Operator.relaxed`."""
    operator = problem.operator
    if operator.linear:
        return False
    return jax.eval_shape(operator.relaxed, problem.y) is not None


def check_problem(problem: Problem) -> None:
    """Check a problem's types, shapes and, where they are not traced, values.

    Args:
      problem: what to check.

    Raises:
      TypeError: if the operator is not an `Operator`.
      ValueError: if the measurement is no array of real numbers, has the wrong shape,
        is not finite or has 8-bit pixels, or the noise level has the wrong shape, is
        out of range or is not None for a non-linear operator.
    """
    operator = problem.operator
    check_operator("a Problem's operator", operator)
    check_measurement(operator, problem.y)
    noise_std = problem.noise_std
    for leaf in jax.tree.leaves(noise_std):
        if not is_real(leaf):
            raise ValueError(
                f"noise_std must be a finite number from 0 on, got {given(leaf)}"
            )
    check_values(problem, problem.noise_per_value)
    refuse_pixels("the measurement y", problem.y, partial(_largest, operator))
    if noise_std is None:
        return
    if problem.noise_per_value:
        _check_noise_per_value(problem)
    if not operator.linear and _may_be_positive(noise_std):
        raise ValueError(
            "a noise level needs a linear operator, whose pseudoinverse can be damped; "
            "for this one use noise_std=None, or restore only its linear part"
        )


def _largest(operator: Operator) -> float:
    """The largest measured value of a white image; inf if the operator is traced."""
    white = operator.apply(jnp.ones(operator.image_shape, jnp.float32))
    values = known(white)
    if len(values) < len(jax.tree.leaves(white)):
        return np.inf
    return max(float(np.abs(a).max(initial=0)) for a in values)


def check_values(problems: Problem, noise_per_value: bool) -> None:
    """Check the values of measurements and noise levels that are not traced.

    Args:
      problems: one, or many that are stacked.
      noise_per_value: as of one of them.

    Raises:
      ValueError: if y is not finite, or a noise level is not a finite number from 0 on;
        above 0, if there is one for every value.
    """
    check_finite("the measurement y", problems.y)
    noise_std = problems.noise_std
    for level in known(noise_std):
        low = SMALLEST if noise_per_value else 0
        if ((level >= low) & (level <= LARGEST)).all():
            continue
        if noise_per_value:
            raise ValueError(
                "a noise_std for every value must be finite and above 0; use a small "
                "one where y is exact"
            )
        raise ValueError(
            f"noise_std must be a finite number from 0 on, got {noise_std}"
        )


def _check_noise_per_value(problem: Problem) -> None:
    """Check the shape of a noise level for every value of y.

    Raises:
      ValueError: if its shape is not y's.
    """
    shape = jax.tree.map(jnp.shape, problem.noise_std)
    expected = jax.tree.map(jnp.shape, problem.y)
    if shape != expected:
        raise ValueError(
            "noise_std must be None, one number, or one for every value of y; y has "
            f"shape {expected}, noise_std {shape!s:.200}"
        )


def _may_be_positive(noise_std: Any) -> bool:
    """Whether a noise level is traced or not all 0."""
    leaves = jax.tree.leaves(noise_std)
    values = known(leaves)
    return len(values) < len(leaves) or any((a > 0).any() for a in values)


def difference(problem: Problem, x: Image) -> Measurement:
    """The residual y - h(x), in the form of y.

    Args:
      problem: y and h.
      x: an image, (height, width, channels).
    """
    return jax.tree.map(jnp.subtract, problem.y, problem.operator.apply(x))


def pinv_residual(problem: Problem, x: Image, variance: Number) -> Image:
    """The image h+(y) - h+(h(x)); for linear h damped by sigma_y^2 / variance.

    Args:
      problem: h, y and sigma_y.
      x: an image, (height, width, channels).
      variance: r_t^2, the expected squared error of a value of x.

    Returns:
      An image of x's shape.

    Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023, equations 7 to 9.
    """
    operator = problem.operator
    if operator.linear:
        return damped_pinv(
            operator, difference(problem, x), problem.noise_std, variance
        )
    return operator.pinv(problem.y) - operator.pinv(operator.apply(x))


def proximal(problem: Problem, x0: Image, variance: Number) -> Image:
    """argmin_x ||y - H x||^2 / sigma_y^2 + ||x - x0||^2 / variance.

    It equals x0 + H^T (H H^T + sigma_y^2 / variance I)^-1 (y - H x0). For a non-linear
    operator, which has no noise, it is the projection x0 + h+(y) - h+(h(x0)).

    Args:
      problem: h, y and sigma_y.
      x0: an image, (height, width, channels).
      variance: the weight of the second term; above 0.

    Returns:
      An image of x0's shape.
    """
    return x0 + pinv_residual(problem, x0, variance)


def root_mean_square(y: Measurement) -> Scalar:
    """The root mean square over all entries of all arrays of a measurement."""
    leaves = jax.tree.leaves(y)
    return jnp.sqrt(
        sum(jnp.sum(leaf**2) for leaf in leaves) / sum(leaf.size for leaf in leaves)
    )


def measurement_residual(problem: Problem, x: Image) -> Scalar:
    """The root mean square of y - h(x), in the unit of y.

    Args:
      problem: y and h.
      x: an image, (height, width, channels).

    Raises:
      TypeError: if problem is none.
      ValueError: if x has another shape than the operator's images.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import Problem, measurement_residual, operators
      >>> problem = Problem(operators.identity((8, 8, 3)), jnp.ones((8, 8, 3)))
      >>> float(measurement_residual(problem, jnp.zeros((8, 8, 3))))
      1.0
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a pigdm_jax.Problem, got {given(problem)}")
    shape = problem.operator.image_shape
    if not is_real(x) or jnp.shape(x) != shape:
        raise ValueError(f"x must be an image of shape {shape}, got {given(x)}")
    return root_mean_square(difference(problem, x))
