"""What an operator is: a measurement h and its pseudoinverse, as a frozen pytree."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from pigdm_jax.types import Image, ImageShape, Measurement
from pigdm_jax.types import Number as Damping

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
          damping: sigma_y^2 / r_t^2 of equation 7 of the paper; 0 gives the
            Moore-Penrose pseudoinverse. Non-linear operators take none.

        Raises:
          ValueError: if a non-linear operator is given a damping.
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
    def differentiable(self) -> bool:
        """Whether the gradient of h tells how the measurement changes."""
        return self.linear

    @property
    def measurement_shape(self) -> Any:
        """Shape of the measurement; a pytree of shapes where it has several arrays."""
        image = jax.ShapeDtypeStruct(self.image_shape, jnp.float32)
        return jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(self.apply, image))

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
