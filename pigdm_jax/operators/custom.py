"""Operators of the user's own: any linear function, or a pair of functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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

# Of the largest value of the probes' measurement.
LINEARITY_TOLERANCE = 1e-4


@pytree_class
class Linear(Operator):
    """A linear function and what follows from it; made by `linear`."""

    function: Any
    image_shape: ImageShape = static_field()

    linear = True

    def apply(self, x: Image) -> Measurement:
        """The function."""
        return self.function(x)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """By conjugate gradients, with JAX's transpose of the function."""
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)


@pytree_class
class Nonlinear(Operator):
    """A pair of functions; made by `nonlinear`."""

    function: Any
    inverse: Any
    image_shape: ImageShape = static_field()

    linear = False
    differentiable = True

    def apply(self, x: Image) -> Measurement:
        """The first function."""
        return self.function(x)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The second."""
        refuse_damping(damping)
        return self.inverse(y)


def linear(
    image_shape: ImageShape | Callable[[Image], Measurement],
    fn: Callable[[Image], Measurement] | ImageShape,
) -> Linear:
    """Any linear JAX function of an image, with its (damped) pseudoinverse.

    The pseudoinverse is found by conjugate gradients and JAX's transpose of the
    function: up to 200 iterations, to a relative residual of 1e-6. Where the function
    is so ill-conditioned that this does not do, `Trace.consistency` shows it, and a
    noise level helps; write an `Operator` where there is a closed form.

    Args:
      image_shape: (height, width, channels) of the image. The function may also come
        first.
      fn: from an image to a float array, or a pytree of them. Arrays that differ from
        image to image are best bound by `jax.tree_util.Partial(fn, arrays)`, which
        makes them leaves of the operator.

    Raises:
      ValueError: if two random images show that fn is not linear.
    """
    if callable(image_shape):
        image_shape, fn = fn, image_shape
    image_shape = check_image_shape(image_shape)
    rng = np.random.default_rng(0)
    x, z = (jnp.asarray(rng.normal(size=image_shape), jnp.float32) for _ in range(2))
    together = fn(2 * x - 3 * z)
    apart = jax.tree.map(lambda a, b: 2 * a - 3 * b, fn(x), fn(z))
    for one, two in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        if not jnp.issubdtype(one.dtype, jnp.floating):
            raise ValueError(
                f"a linear function must give real floating-point numbers, not "
                f"{one.dtype}; give real and imaginary parts apart"
            )
        size = jnp.max(jnp.abs(two))
        if not jnp.max(jnp.abs(one - two)) <= LINEARITY_TOLERANCE * size:
            raise ValueError(
                "this function is not linear: f(2x - 3z) is not 2f(x) - 3f(z); give it "
                "and its pseudoinverse to `nonlinear`"
            )
    return Linear(as_pytree(fn), image_shape)


def nonlinear(
    image_shape: ImageShape,
    apply: Callable[[Image], Measurement],
    pinv: Callable[[Measurement], Image],
) -> Nonlinear:
    """A non-linear measurement and the user's own pseudoinverse.

    Args:
      image_shape: (height, width, channels) of the image.
      apply: h, from an image to a measurement.
      pinv: h-dagger, from a measurement to an image that measures the same:
        h(h-dagger(h(x))) = h(x).

    Raises:
      ValueError: if pinv does not give images of that shape.
    """
    image_shape = check_image_shape(image_shape)
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    back = jax.eval_shape(lambda x: pinv(apply(x)), image).shape
    if back != image_shape:
        raise ValueError(f"pinv gives images of shape {back}, not {image_shape}")
    return Nonlinear(as_pytree(apply), as_pytree(pinv), image_shape)
