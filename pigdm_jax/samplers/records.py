"""Reports of samplers: an `Info` for each step and a `Trace` for a run."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from pigdm_jax.core.types import AnyArray, Image, Scalar


class Info(NamedTuple):
    """The report of one step.

    Attributes:
      x0: the prior's prediction of the clean image, (H, W, C).
      residual: root mean square of y - h(x0), in the measurement's units.
      correction: what the measurement added to the sample or to the prediction,
        (H, W, C).

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> residuals = []
      >>> def on_step(i, info):
      ...     residuals.append(float(info.residual))
      >>> sampler, key = pj.samplers.DDIM(steps=3), jax.random.key(0)
      >>> image = pj.restore(prior, problem, key, sampler, on_step=on_step)
      >>> len(residuals)
      3
    """

    x0: Image
    residual: Scalar
    correction: Image


OnStep = Callable[[int, Info], None]


def numbered(on_step: OnStep | None, before: int) -> OnStep | None:
    """`on_step` for a later run of several, with the number of earlier steps added."""
    if on_step is None:
        return None

    def report(index: int, info: Info) -> None:
        on_step(before + index, info)

    return report


class Trace(NamedTuple):
    """The report of a run of n steps, noisiest first.

    Attributes:
      t: the network's step, 0 .. T - 1.
      residual: root mean square of y - h(x0), in the measurement's units.
      x0_norm: root mean square of the prediction x0.
      guidance_norm: root mean square of `Info.correction`.
      consistency: root mean square of h(h+(y)) - y, one number for the run. If it is
        above rounding error, the pseudoinverse is approximate (a chain with non-linear
        parts, conjugate gradients that did not converge) or no image measures y (y is
        noisy).
      estimate: what a blind sampler estimated of the measurement.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDIM(steps=4)
      >>> _, trace = pj.restore(
      ...     prior, problem, jax.random.key(0), sampler, trace=True
      ... )
      >>> trace.t
      Array([999., 749., 499., 249.], dtype=float32)
    """

    t: Float[Array, "*batch n"]
    residual: Float[Array, "*batch n"]
    x0_norm: Float[Array, "*batch n"]
    guidance_norm: Float[Array, "*batch n"]
    consistency: Float[Array, "*batch"] | None = None
    estimate: PyTree | None = None

    @property
    def first_not_finite(self) -> Int[AnyArray, "*batch"]:
        """The first step, 1 .. n, with NaN or infinite numbers; 0 if there is none.

        The cause is the prior or the guidance in that step, or the step before it.

        Examples:
          >>> import jax, numpy as np, pigdm_jax as pj
          >>> import jax.numpy as jnp
          >>> prior = pj.from_eps(lambda x_t, t: jnp.where(t < 500, jnp.nan, x_t))
          >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
          >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
          >>> sampler, key = pj.samplers.DDIM(steps=4), jax.random.key(0)
          >>> _, trace = pj.restore(prior, problem, key, sampler, trace=True)
          >>> int(trace.first_not_finite)
          3
        """
        rows = jnp.stack([self.residual, self.x0_norm, self.guidance_norm])
        wrong = ~jnp.isfinite(rows).all(0)
        return jnp.where(wrong.any(-1), jnp.argmax(wrong, -1) + 1, 0)
