"""The base class of operators: a measurement h and its pseudoinverse."""

import abc
import math
import operator as python_operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PyTree

from pigdm_jax.core.arrays import is_real
from pigdm_jax.core.checks import given
from pigdm_jax.core.text import one_line
from pigdm_jax.core.types import Image, ImageShape, Measurement, PRNGKey
from pigdm_jax.core.types import Number as Damping

# Matrix products on TPU and GPU default to a few bits of mantissa, with which no
# identity of a pseudoinverse holds.
EXACT = jax.lax.Precision.HIGHEST


class Spectrum(NamedTuple):
    """The singular value decomposition H = U diag(values) V^T of a linear operator.

    Right singular vectors with singular value 0 may be left out of V.

    Attributes:
      values: singular values, in a shape that broadcasts to that of the coefficients.
      analyse: gives the coefficients V^T x of an image x; complex if V is the Fourier
        transform.
      synthesise: gives the image V k of coefficients k.
    """

    values: Float[Array, "..."]
    analyse: Callable[[Image], Inexact[Array, "..."]]
    synthesise: Callable[[Inexact[Array, "..."]], Image]


class Relaxation(NamedTuple):
    """A linear measurement that stands for one of an operator that quantises.

    Attributes:
      operator: the linear operator.
      y: its measurement.
      noise_std: standard deviation of the error that quantisation makes, one for every
        value, in the form of y.
    """

    operator: "Operator"
    y: Any
    noise_std: Any


class Wider(NamedTuple):
    """An operator whose images reach beyond the photo that is wanted.

    Attributes:
      operator: the same measurement of a larger image.
      top: the photo's first row in that image.
      left: its first column.
    """

    operator: "Operator"
    top: int
    left: int


class Operator(abc.ABC):
    """A measurement y = h(x) of one image, with its pseudoinverse.

    Every operator is a pytree whose leaves are its masks, kernels and tables, so
    operators of the same class and shape can be stacked and passed to `jax.vmap`.
    A subclass defines `apply`, `pinv`, `image_shape` and `linear`; everything else has
    a default.

    Attributes:
      image_shape: (height, width, channels) of the image measured.
      linear: whether h is linear; then `pinv` accepts a damping.

    Examples:
      >>> import jax.numpy as jnp
      >>> from pigdm_jax import Operator, pytree_class, static_field
      >>> @pytree_class
      ... class Darken(Operator):
      ...     factor: float
      ...     image_shape: tuple[int, ...] = static_field()
      ...     linear = True
      ...     def apply(self, x):
      ...         return self.factor * x
      ...     def pinv(self, y, damping=0.0):
      ...         return self.factor * y / (self.factor**2 + damping)
      >>> operator = Darken(0.5, (8, 8, 3))
      >>> y = operator.apply(jnp.ones((8, 8, 3)))
      >>> operator.measurement_shape, float(operator.pinv(y).mean())
      ((8, 8, 3), 1.0)
    """

    image_shape: ImageShape
    linear: bool

    @abc.abstractmethod
    def apply(self, x: Image) -> Measurement:
        """The measurement h(x).

        Args:
          x: an image of shape `image_shape`, in [-1, 1].
        """

    @abc.abstractmethod
    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The image h+(y): H^T (H H^T + damping I)^-1 y for a linear h = H.

        Args:
          y: a measurement, as returned by `apply`.
          damping: sigma_y^2 / r_t^2 in equation 7 of the paper, one number; 0 gives the
            Moore-Penrose pseudoinverse. Non-linear operators accept only 0. For a
            noise level for every value use `damped_pinv`.

        Returns:
          An image of shape `image_shape`.

        Raises:
          ValueError: if a non-linear operator is given a damping, or the damping is an
            array.

        Reference: Song, Vahdat, Mardani, Kautz, ICLR 2023, equations 7 to 9.
        """

    @property
    def tight(self) -> float | None:
        """The number c if H H^T = c I (a tight frame), else None.

        Chains that begin with a tight operator keep their closed-form pseudoinverse.
        """
        return None

    @property
    def spectrum(self) -> Spectrum | None:
        """The singular value decomposition; None if it is not known."""
        if self.tight is None:
            return None
        root = math.sqrt(self.tight)
        return Spectrum(
            jnp.float32(root),
            lambda x: self.apply(x) / root,
            lambda k: self.pinv(k) * root,
        )

    @property
    def gram(self) -> Measurement | None:
        """The diagonal of H H^T, in the form of y; None if H H^T is not diagonal."""
        tight = self.tight
        if tight is None:
            return None
        return jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, tight, jnp.float32),
            self._measurement_struct(),
        )

    @property
    def wider(self) -> Wider | None:
        """The same measurement of a larger image, of which the photo is a part.

        Where the measurement depends on what lies beyond the photo's border, `restore`
        restores that, too, and cuts it off. None if it does not.
        """
        return None

    @property
    def restored_shape(self) -> ImageShape:
        """The shape of what `restore` restores: that of `wider`, or `image_shape`."""
        wider = self.wider
        return self.image_shape if wider is None else wider.operator.image_shape

    @property
    def draws(self) -> bool:
        """Whether noise is part of the operator; see `draw`."""
        return False

    @property
    def orthogonal(self) -> bool:
        """Whether h is known to be orthogonal, so that the problem is denoising."""
        return self.tight == 1.0 and self.measurement_shape == self.image_shape

    @property
    def differentiable(self) -> bool:
        """Whether h has a useful gradient; that of a quantising operator is 0."""
        return self.linear

    @property
    def measurement_shape(self) -> Any:
        """Shape of the measurement; a pytree of shapes if it has several arrays."""
        return jax.tree.map(lambda leaf: leaf.shape, self._measurement_struct())

    def _measurement_struct(self) -> PyTree:
        """A `jax.ShapeDtypeStruct` for each array of a measurement."""
        image = jax.ShapeDtypeStruct(self.image_shape, jnp.float32)
        return jax.eval_shape(self.apply, image)

    def nearest(self, x: Image, y: Measurement) -> Image:
        """The projection x + h+(y) - h+(h(x)) of x onto the images that measure y.

        If h is linear, it is the image nearest to x with H x = y. Operators that
        quantise override it: a value outside of its measured cell moves to the cell's
        border.

        Args:
          x: an image of shape `image_shape`.
          y: a measurement, as returned by `apply`.

        Returns:
          An image of shape `image_shape`.
        """
        if self.linear:
            residual = jax.tree.map(jnp.subtract, y, self.apply(x))
            return x + self.pinv(residual)
        return x + self.pinv(y) - self.pinv(self.apply(x))

    def draw(self, x: Image, key: PRNGKey) -> Measurement:
        """A measurement with the noise that is part of the operator, h(x) if none is.

        Args:
          x: an image of shape `image_shape`.
          key: a `jax.random` key.
        """
        del key
        return self.apply(x)

    def relaxed(self, y: Measurement) -> "Relaxation | None":
        """Quantisation as noise: a linear operator, its measurement, and noise levels.

        None for operators that do not quantise.

        Args:
          y: a measurement, as returned by `apply`.
        """
        del y
        return None

    def from_picture(self, picture: Image) -> Measurement:
        """The measurement that a picture file contains.

        By default the picture itself. Overridden where the measurement is not a picture
        (JPEG coefficients), or where a picture's values may not be possible values of a
        measurement (quantisation levels, hidden pixels).

        Args:
          picture: the decoded file, in [-1, 1].
        """
        return picture

    def to_picture(self, y: Measurement) -> Image:
        """A measurement as a picture in [-1, 1], to be shown or saved."""
        return y


def check_damping(damping: Damping) -> Damping:
    """The damping of a linear operator's pseudoinverse, if it is one number.

    Raises:
      ValueError: if it is an array.
    """
    if jnp.ndim(damping) != 0:
        raise ValueError(
            f"the damping of a pseudoinverse must be one number, got an array of shape "
            f"{jnp.shape(damping)}; for a noise level for every measured value use "
            "pigdm_jax.operators.damped_pinv"
        )
    return damping


def refuse_damping(damping: Damping) -> None:
    """Check that a non-linear operator is given no damping; a traced one passes.

    Raises:
      ValueError: if the damping is not 0.
    """
    if isinstance(damping, jax.core.Tracer) or not np.any(np.asarray(damping)):
        return
    raise ValueError(
        "this operator is not linear, so its pseudoinverse cannot be damped by a "
        "noise level; use 0"
    )


def check_operator(name: str, operator: Any) -> None:
    """Check that an argument is an operator.

    Raises:
      TypeError: if it is none.
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"{name} must be a pigdm_jax.Operator, got {given(operator)}")


def check_measurement(operator: Operator, y: Any) -> None:
    """Check the types and shapes of a measurement y, but not its values.

    Raises:
      ValueError: if it is no array of real numbers, or of another shape.
    """
    expected = operator.measurement_shape
    # A list of numbers would be a pytree, too.
    one = type(expected) is tuple and all(isinstance(n, int) for n in expected)
    for leaf in [y] if one else jax.tree.leaves(y):
        if not is_real(leaf):
            raise ValueError(
                f"the measurement y must be an array of real numbers, got {given(leaf)}"
            )
    shape = jax.tree.map(jnp.shape, y)
    if shape != expected:
        raise ValueError(
            f"the measurement has shape {shape!s:.200}, but this operator returns "
            f"shape {expected} for images of shape {operator.image_shape}"
        )


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """An image shape as a tuple of three ints.

    Raises:
      ValueError: if it is not (height, width, channels), all positive.
    """
    try:
        shape = tuple(python_operator.index(n) for n in image_shape)
    except (TypeError, ValueError):
        raise ValueError(
            "the first argument must be the image shape (height, width, channels), got "
            f"{one_line(repr(image_shape)):.80}"
        ) from None
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            "an image shape must be (height, width, channels), all positive; got "
            f"{shape}"
        )
    height, width, channels = shape
    return height, width, channels
