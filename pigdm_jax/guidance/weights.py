"""The weights of a gradient g: guided_x0 = x0 + k g, guided_eps = eps + m g.

In DDIM's step the weight of g is w = sqrt(a_s) k + c2 m. Each function returns (k, m)
for a step, the guidance's scale and its data variance d.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import Number
from pigdm_jax.priors.schedule import Step, r2

Pair = tuple[jax.Array, jax.Array]


def adaptive_weight(step: Step, scale: Number, data_variance: Number) -> Pair:
    """Weights k = sqrt(a_t), m = 0: equation 10, transformed from VE to VP."""
    del data_variance
    return jnp.sqrt(step.a_t) * scale, jnp.zeros_like(step.a_t)


def algorithm1_weight(step: Step, scale: Number, data_variance: Number) -> Pair:
    """Weights k = sqrt(a_t / a_s), m = 0: Algorithm 1 of the paper as printed."""
    del data_variance
    return jnp.sqrt(step.a_t / step.a_s) * scale, jnp.zeros_like(step.a_t)


def vdm_weight(step: Step, scale: Number, data_variance: Number) -> Pair:
    """Weights k = w_r sqrt(a_t), m = -w_r a_t / sqrt(1 - a_t), where w_r is the scale.

    Reference: Ho et al. 2022, equation 7.
    """
    del data_variance
    return jnp.sqrt(step.a_t) * scale, -step.a_t * scale / jnp.sqrt(step.b_t)


def posterior_weight(step: Step, scale: Number, data_variance: Number) -> Pair:
    """Weights k = q / sqrt(a_t), m = -q / sqrt(1 - a_t), with q = (1 - a_t) / r_t^2.

    That is the conditional score, grad log p(x_t) + g / r_t^2, in place of the score.
    """
    q = step.b_t * scale / r2(step, data_variance)
    return q / jnp.sqrt(step.a_t), -q / jnp.sqrt(step.b_t)


WEIGHTS: dict[str, Callable[[Step, Number, Number], Pair]] = {
    "adaptive": adaptive_weight,
    "algorithm1": algorithm1_weight,
    "vdm": vdm_weight,
    "posterior": posterior_weight,
}
