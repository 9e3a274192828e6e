"""What an operator is: a measurement h and its pseudoinverse, as a frozen pytree."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PyTree

from pigdm_jax.core.types import Image, ImageShape, Measurement
from pigdm_jax.core.types import Number as Damping

# Matrix products on TPU and GPU default to a few bits of mantissa, which no
# pseudoinverse identity survives.
EXACT = jax.lax.Precision.HIGHEST


class Spectrum(NamedTuple):
    """A linear operator where it is diagonal, H = U diag(values) V^T.

    Coefficients are the image's along the columns of V. Columns that H does not measure
    may be missing, or be there with a value of 0.

    Attributes:
      values: singular values, of a shape that broadcasts to the coefficients'.
      analyse: V^T x of an image x; complex where V is the Fourier transform.
      synthesise: V k of coefficients k.
    """

    values: Float[Array, "..."]
    analyse: Callable[[Image], Inexact[Array, "..."]]
    synthesise: Callable[[Inexact[Array, "..."]], Image]


class Operator(abc.ABC):
    """A measurement y = h(x) of one image, with its pseudoinverse.

    Every operator is a pytree: masks, kernels and tables are leaves, so operators
    of one kind and shape can be stacked and mapped over by `jax.vmap`.

    Attributes:
      image_shape: (height, width, channels) of the image measured.
      linear: whether h is linear; then `pinv` takes a damping.
      tight: the number c where H H^T = c I, for which chains stay closed-form; or
        None.
    """

    image_shape: ImageShape
    linear: ClassVar[bool]
    tight = None

    @abc.abstractmethod
    def apply(self, x: Image) -> Measurement:
        """The measurement h(x) of an image in [-1, 1]."""

    @abc.abstractmethod
    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The image h-dagger(y): H^T (H H^T + damping I)^-1 y for a linear h = H.

        Args:
          y: a measurement, as `apply` gives it.
          damping: sigma_y^2 / r_t^2 of equation 7 of the paper, one number; 0 gives
            the Moore-Penrose pseudoinverse. Non-linear operators take none. Noise of
            its own for every value goes through `damped_pinv`.

        Raises:
          ValueError: if a non-linear operator is given a damping, or the damping is no
            single number.
        """

    @property
    def spectrum(self) -> Spectrum | None:
        """The singular value decomposition; None where it is not known."""
        if self.tight is None:
            return None
        root = np.sqrt(self.tight)
        return Spectrum(
            jnp.float32(root),
            lambda x: self.apply(x) / root,
            lambda k: self.pinv(k) * root,
        )

    @property
    def gram(self) -> Measurement | None:
        """Diagonal of H H^T, in y's form, where H H^T is diagonal; else None."""
        if self.tight is None:
            return None
        return jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, self.tight, jnp.float32), self._measured()
        )

    @property
    def keeps_everything(self) -> bool:
        """Whether it is known to be the identity, up to a rotation: denoising."""
        return self.tight == 1.0 and self.measurement_shape == self.image_shape

    @property
    def differentiable(self) -> bool:
        """Whether the gradient of h tells how the measurement changes."""
        return self.linear

    @property
    def measurement_shape(self) -> Any:
        """Shape of the measurement; a pytree of shapes where it has several arrays."""
        return jax.tree.map(lambda leaf: leaf.shape, self._measured())

    def _measured(self) -> PyTree:
        """Shapes and types of a measurement."""
        image = jax.ShapeDtypeStruct(self.image_shape, jnp.float32)
        return jax.eval_shape(self.apply, image)

    def nearest(self, x: Image, y: Measurement) -> Image:
        """The image x + h+(y) - h+(h(x)): the nearest to x that measures y if linear.

        For quantising operators it moves x into the measured level and keeps its place
        within the level.
        """
        if self.linear:
            residual = jax.tree.map(jnp.subtract, y, self.apply(x))
            return x + self.pinv(residual)
        return x + self.pinv(y) - self.pinv(self.apply(x))

    def from_picture(self, picture: Image) -> Measurement:
        """The measurement that a picture file holds.

        Most measurements are pictures themselves. An operator whose measurement is
        not (JPEG coefficients) or whose file may break its own rule (levels, hidden
        pixels) overrides this.
        """
        return picture

    def to_picture(self, y: Measurement) -> Image:
        """A measurement as a picture to look at or to keep in a file."""
        return y


def check_damping(damping: Damping) -> Damping:
    """The damping of a linear operator's pseudoinverse, which is one number.

    Raises:
      ValueError: if it is an array.
    """
    if jnp.ndim(damping) != 0:
        raise ValueError(
            f"the damping of a pseudoinverse is one number, got an array of shape "
            f"{jnp.shape(damping)}; noise of its own for every measured value goes "
            "through pigdm_jax.operators.damped_pinv"
        )
    return damping


def refuse_damping(damping: Damping) -> None:
    """For operators that cannot damp: an error, unless the damping is 0 or traced."""
    if isinstance(damping, jax.core.Tracer) or not np.any(np.asarray(damping)):
        return
    raise ValueError(
        "this operator is not linear, so its pseudoinverse cannot be damped by a "
        "noise level; use 0"
    )


def check_image_shape(image_shape: ImageShape) -> ImageShape:
    """The shape as a tuple of ints, or an error that says what a shape is."""
    shape = tuple(int(n) for n in image_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"an image shape is (height, width, channels), all positive; got {shape}"
        )
    return shape
