"""Operators from the user's own functions: a linear one, or a pair."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.checks import given
from pigdm_jax.core.pytree import as_pytree, pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    check_image_shape,
    refuse_damping,
)
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients

# Relative to the largest value of a measurement.
LINEARITY_TOLERANCE = 1e-4


@pytree_class
class Linear(Operator):
    """A linear function, inverted by conjugate gradients; see `linear`."""

    function: Any
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Measurement:
        """The function of an image."""
        return self.function(x)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The (damped) pseudoinverse by conjugate gradients."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)


@pytree_class
class Nonlinear(Operator):
    """A measurement function and its pseudoinverse; see `nonlinear`."""

    function: Any
    inverse: Any
    image_shape: ImageShape = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Measurement:
        """The measurement function of an image."""
        return self.function(x)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The pseudoinverse of a measurement; the damping must be 0."""
        refuse_damping(damping)
        return self.inverse(y)


def linear(image_shape: ImageShape, fn: Callable[[Image], Measurement]) -> Linear:
    """Any linear JAX function of an image, with its (damped) pseudoinverse.

    The pseudoinverse is computed by conjugate gradients with JAX's transpose of the
    function: at most 200 iterations, to a relative residual of 1e-6. An ill-conditioned
    function may need more. `Trace.consistency` then shows the remaining error, and a
    noise level makes the system better conditioned. If there is a closed form, write an
    `Operator` subclass instead.

    Args:
      image_shape: (height, width, channels) of the image.
      fn: from an image to a float array, or a pytree of them. Bind arrays that differ
        from image to image with `jax.tree_util.Partial(fn, arrays)`, which makes them
        leaves of the operator.

    Returns:
      A linear operator.

    Raises:
      ValueError: if the arguments are in the wrong order, or fn is not linear or not
        real; linearity is checked on two random images.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.linear((8, 8, 3), lambda x: jnp.diff(x, axis=0))
      >>> y = operator.apply(jnp.ones((8, 8, 3)))
      >>> y.shape, operator.pinv(y).shape
      ((7, 8, 3), (8, 8, 3))
    """
    image_shape = check_image_shape(image_shape)
    _check_functions("linear", fn)
    _check_linear(image_shape, fn)
    return Linear(as_pytree(fn), image_shape)


def _check_functions(name: str, *functions: Any) -> None:
    """Check what follows the image shape.

    Raises:
      ValueError: if something there is not a function.
    """
    for function in functions:
        if not callable(function):
            raise ValueError(
                f"{name} needs a function after the image shape, got {given(function)}"
            )


def _check_linear(image_shape: ImageShape, fn: Callable[[Image], Measurement]) -> None:
    """Check that fn(2x - 3z) = 2 fn(x) - 3 fn(z) for two random images.

    Raises:
      ValueError: if that does not hold, or fn returns complex numbers or integers.
    """
    rng = np.random.default_rng(0)
    x, z = (jnp.asarray(rng.normal(size=image_shape), jnp.float32) for _ in range(2))
    of_sum = fn(2 * x - 3 * z)
    sum_of = jax.tree.map(lambda a, b: 2 * a - 3 * b, fn(x), fn(z))
    for one, other in zip(
        jax.tree.leaves(of_sum), jax.tree.leaves(sum_of), strict=True
    ):
        if not jnp.issubdtype(one.dtype, jnp.floating):
            raise ValueError(
                f"a linear function must return real floating-point numbers, not "
                f"{one.dtype}; return real and imaginary parts as two arrays"
            )
        size = jnp.max(jnp.abs(other))
        if not jnp.max(jnp.abs(one - other)) <= LINEARITY_TOLERANCE * size:
            raise ValueError(
                "this function is not linear: f(2x - 3z) differs from 2f(x) - 3f(z); "
                "pass it with a pseudoinverse to `nonlinear`"
            )


def nonlinear(
    image_shape: ImageShape,
    apply: Callable[[Image], Measurement],
    pinv: Callable[[Measurement], Image],
) -> Nonlinear:
    """A non-linear measurement with a pseudoinverse of the user's choice.

    Args:
      image_shape: (height, width, channels) of the image.
      apply: h, from an image in [-1, 1] to a measurement.
      pinv: h+, from a measurement to an image that has the same measurement:
        h(h+(h(x))) = h(x).

    Returns:
      A non-linear operator; its measurements have no noise level.

    Raises:
      ValueError: if the arguments are in the wrong order, or pinv does not return
        images of that shape.

    Reference: Song et al. 2023, equation 9.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import operators
      >>> operator = operators.nonlinear((8, 8, 3), jnp.abs, lambda y: y)
      >>> operator.linear, operator.measurement_shape
      (False, (8, 8, 3))
    """
    image_shape = check_image_shape(image_shape)
    _check_functions("nonlinear", apply, pinv)
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    inverse_shape = jax.eval_shape(lambda x: pinv(apply(x)), image).shape
    if inverse_shape != image_shape:
        raise ValueError(
            f"pinv returns images of shape {inverse_shape}, not {image_shape}"
        )
    return Nonlinear(as_pytree(apply), as_pytree(pinv), image_shape)
