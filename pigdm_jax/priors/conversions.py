"""Priors from models that predict the noise, the clean image or a velocity."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from pigdm_jax.core.checks import check_count, given
from pigdm_jax.core.pytree import as_pytree, pytree_class, static_field
from pigdm_jax.core.types import Image, ImageShape
from pigdm_jax.operators.base import check_image_shape
from pigdm_jax.priors.base import Prior, Timestep
from pigdm_jax.priors.schedule import Schedule, alpha_bar_at, as_schedule

# What a network may be trained to predict.
PREDICTIONS = ("eps", "x0", "v")


def as_eps(
    predicts: str, output: Image, x_t: Image, t: Timestep, schedule: Schedule
) -> Image:
    """Convert a network's prediction to eps.

    Args:
      predicts: what the network predicts, one of PREDICTIONS.
      output: the prediction, (H, W, C).
      x_t: the noisy image, (H, W, C).
      t: the network's step.
      schedule: the schedule that it was trained with.
    """
    if predicts == "eps":
        return output
    alpha_bar, one_minus = alpha_bar_at(schedule, t)
    a, s = jnp.sqrt(alpha_bar), jnp.sqrt(one_minus)
    return (x_t - a * output) / s if predicts == "x0" else s * x_t + a * output


@pytree_class
class ConvertedPrior(Prior):
    """A model that predicts eps, x0, v or a flow; made by `from_eps` and the others."""

    model: Any
    predicts: str = static_field()
    schedule: Schedule = static_field()
    image_shape: ImageShape | None = static_field()
    multiple: int = static_field()

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The eps that corresponds to the model's prediction."""
        if self.predicts != "flow":
            return as_eps(self.predicts, self.model(x_t, t), x_t, t, self.schedule)
        alpha_bar, one_minus = alpha_bar_at(self.schedule, t)
        a, s = jnp.sqrt(alpha_bar), jnp.sqrt(one_minus)
        # The flow's sample at tau = s / (a + s) is (1 - tau) x0 + tau z, which equals
        # x_t / (a + s), and its velocity is z - x0.
        flow, tau = x_t / (a + s), s / (a + s)
        return flow + (1 - tau) * self.model(flow, tau)


def _converted(
    model: Any, predicts: str, schedule: Any, image_shape: Any, multiple: Any
) -> ConvertedPrior:
    """A prior from checked arguments.

    Raises:
      TypeError: if the model is no function.
      ValueError: if another argument is out of range.
    """
    if not callable(model):
        raise TypeError(f"a prior's model must be a function, got {given(model)}")
    check_count("multiple", multiple)
    if image_shape is not None:
        image_shape = check_image_shape(image_shape)
    return ConvertedPrior(
        as_pytree(model), predicts, as_schedule(schedule), image_shape, multiple
    )


def from_eps(
    eps: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a function that predicts the noise: eps(x_t, t) -> eps.

    Args:
      eps: a function, or a callable pytree such as `jax.tree_util.Partial`, whose
        leaves are the prior's.
      schedule: a schedule, or "linear" or "cosine".
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_eps(lambda x_t, t: 0.5 * x_t)
      >>> float(prior(np.ones((4, 4, 1), np.float32), 10).mean())
      0.5
    """
    return _converted(eps, "eps", schedule, image_shape, multiple)


def from_denoiser(
    denoiser: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a model that predicts the clean image: denoiser(x_t, t) -> x0.

    Its noise is eps = (x_t - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar).

    Args:
      denoiser: a function, or a callable pytree such as `jax.tree_util.Partial`, whose
        leaves are the prior's.
      schedule: a schedule, or "linear" or "cosine".
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_denoiser(lambda x_t, t: 0.0 * x_t)
      >>> round(float(prior(np.ones((4, 4, 1), np.float32), 999).mean()), 3)
      1.0
    """
    return _converted(denoiser, "x0", schedule, image_shape, multiple)


def from_velocity(
    velocity: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    flow: bool = False,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a model that predicts a velocity.

    Args:
      velocity: a function, or a callable pytree such as `jax.tree_util.Partial`, whose
        leaves are the prior's. With `flow=False` it is called as velocity(x_t, t) and
        predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0. With `flow=True` it
        is called as velocity(x_tau, tau) and predicts z - x0 of a rectified flow, where
        x_tau = (1 - tau) x0 + tau z and tau is in [0, 1], 1 for pure noise.
      schedule: a schedule, or "linear" or "cosine".
      flow: whether the model is a rectified flow.
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    References: Salimans and Ho 2022 (v); Liu et al. 2023 (rectified flow).

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_velocity(lambda x_tau, tau: 0.0 * x_tau, flow=True)
      >>> prior(np.ones((4, 4, 1), np.float32), 999).shape
      (4, 4, 1)
    """
    predicts = "flow" if flow else "v"
    return _converted(velocity, predicts, schedule, image_shape, multiple)
