"""Priors from networks that predict the noise, the clean image or a velocity."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from pigdm_jax.core.pytree import as_pytree, pytree_class, static_field
from pigdm_jax.core.types import Image, ImageShape
from pigdm_jax.priors.base import Prior, Timestep
from pigdm_jax.priors.schedule import Schedule, alpha_bar_at, as_schedule

# What a network may have been trained to predict.
PREDICTIONS = ("eps", "x0", "v")


def as_eps(
    predicts: str, output: Image, x_t: Image, t: Timestep, schedule: Schedule
) -> Image:
    """The eps that corresponds to a network's prediction of one of PREDICTIONS."""
    if predicts == "eps":
        return output
    alpha_bar, one_minus = alpha_bar_at(schedule, t)
    a, s = jnp.sqrt(alpha_bar), jnp.sqrt(one_minus)
    return (x_t - a * output) / s if predicts == "x0" else s * x_t + a * output


@pytree_class
class ConvertedPrior(Prior):
    """A network that predicts something other than eps; see `from_denoiser`."""

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
        # Rectified flow lives at (1 - tau) x0 + tau z, which is x_t over (a + s) at
        # tau = s / (a + s), and its velocity is z - x0.
        flow, tau = x_t / (a + s), s / (a + s)
        return flow + (1 - tau) * self.model(flow, tau)


def from_eps(
    eps: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a function that predicts the noise: eps(x_t, t) -> eps.

    Args:
      eps: a callable pytree (a function wrapped in `jax.tree_util.Partial`).
      schedule: the schedule that relates t to the noise in x_t.
      image_shape: the shape it is made for, or None for any.
      multiple: height and width must be multiples of this.
    """
    return ConvertedPrior(
        as_pytree(eps), "eps", as_schedule(schedule), image_shape, multiple
    )


def from_denoiser(
    denoiser: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a model that predicts the clean image: denoiser(x_t, t) -> x0.

    Args:
      denoiser: a callable pytree (a function wrapped in `jax.tree_util.Partial`).
      schedule: the schedule that relates t to the noise in x_t.
      image_shape: the shape it is made for, or None for any.
      multiple: height and width must be multiples of this.
    """
    return ConvertedPrior(
        as_pytree(denoiser), "x0", as_schedule(schedule), image_shape, multiple
    )


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
      velocity: a callable pytree. With `flow=False` velocity(x_t, t) is v-prediction,
        sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans and Ho 2022). With
        `flow=True` velocity(x_tau, tau) is a rectified flow's z - x0 at
        x_tau = (1 - tau) x0 + tau z, tau in [0, 1] with 1 pure noise (Liu et al. 2023).
      schedule: the schedule that relates t to the noise in x_t.
      flow: which of the two.
      image_shape: the shape it is made for, or None for any.
      multiple: height and width must be multiples of this.
    """
    predicts = "flow" if flow else "v"
    return ConvertedPrior(
        as_pytree(velocity), predicts, as_schedule(schedule), image_shape, multiple
    )
