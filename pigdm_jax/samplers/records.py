"""What samplers report: each step's `Info`, and the `Trace` of a whole run."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float, PyTree

from pigdm_jax.core.types import Image, Scalar


class Info(NamedTuple):
    """The report of one step.

    Attributes:
      x0: the prior's prediction of the clean image.
      residual: root mean square of y - h(x0), in the measurement's own units.
      correction: what the measurement added to the sample or its prediction.
    """

    x0: Image
    residual: Scalar
    correction: Image


OnStep = Callable[[int, Info], None]


class Trace(NamedTuple):
    """The report of n steps, noisiest first.

    Attributes:
      t: the network's step.
      residual: root mean square of y - h(x0_hat), in the measurement's own units.
      x0_norm: root mean square of x0_hat.
      guidance_norm: root mean square of what the measurement added.
      consistency: one number, root mean square of h(h+(y)) - y. Above rounding error,
        the pseudoinverse is approximate (a chain with non-linear parts, conjugate
        gradients that did not converge) or no image has the measurement y (noise).
      estimate: what a blind sampler estimated of the measurement.
    """

    t: Float[Array, "*batch n"]
    residual: Float[Array, "*batch n"]
    x0_norm: Float[Array, "*batch n"]
    guidance_norm: Float[Array, "*batch n"]
    consistency: Float[Array, "*batch"] | None = None
    estimate: PyTree | None = None
