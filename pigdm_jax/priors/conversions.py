"""Priors from models that predict the noise, the clean image or a velocity."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from pigdm_jax.core.checks import check_count, check_flag, given
from pigdm_jax.core.pytree import as_pytree, pytree_class, static_field
from pigdm_jax.core.types import Image, ImageShape
from pigdm_jax.operators.base import check_image_shape
from pigdm_jax.priors.base import Prior, Timestep
from pigdm_jax.priors.schedule import Schedule, alpha_bar_at, as_schedule

# What a network may be trained to predict.
PREDICTIONS = ("eps", "x0", "v")


def predicted_eps(
    model: Callable[[Image, Timestep], Image],
    x_t: Image,
    t: Timestep,
    schedule: Schedule,
    *,
    predicts: str,
    flow: bool,
) -> Image:
    """Evaluate a model and convert its prediction to eps.

    Args:
      model: called as model(x_t, t), or model(x_tau, tau) if it is a flow.
      x_t: the noisy image, (H, W, C).
      t: the step, 0 .. T - 1; may be a fraction.
      schedule: the schedule of x_t.
      predicts: what the model predicts, one of PREDICTIONS.
      flow: whether it was trained by flow matching; see `from_velocity`.
    """
    if predicts == "eps" and not flow:
        return model(x_t, t)
    alpha_bar, one_minus = alpha_bar_at(schedule, t)
    a, s = jnp.sqrt(alpha_bar), jnp.sqrt(one_minus)
    x, tau = x_t, s / (a + s)
    if flow:
        # Both are a mixture of x0 and noise, in the ratio a : s.
        x = x_t / (a + s)
    output = model(x, tau if flow else t)
    match predicts:
        case "eps":
            return output
        case "x0":
            return (x_t - a * output) / s
    return x + (1 - tau) * output if flow else s * x_t + a * output


def training_target(
    x0: Float[Array, "b h w c"],
    eps: Float[Array, "b h w c"],
    a: Float[Array, "b 1 1 1"],
    s: Float[Array, "b 1 1 1"],
    *,
    predicts: str,
    flow: bool,
) -> Float[Array, "b h w c"]:
    """What a model is to predict from a x0 + s eps; `predicted_eps` converts it.

    Args:
      x0: clean images.
      eps: the noise in them.
      a: sqrt(alpha_bar); of a flow, 1 - tau.
      s: sqrt(1 - alpha_bar); of a flow, tau.
      predicts: what the model predicts, one of PREDICTIONS.
      flow: whether it is trained by flow matching.
    """
    match predicts:
        case "eps":
            return eps
        case "x0":
            return x0
    return eps - x0 if flow else a * eps - s * x0


@pytree_class
class ConvertedPrior(Prior):
    """A model that predicts eps, x0 or v; made by `from_eps` and the others."""

    model: Any
    predicts: str = static_field()
    flow: bool = static_field()
    schedule: Schedule = static_field()
    image_shape: ImageShape | None = static_field()
    multiple: int = static_field()

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The eps that corresponds to the model's prediction."""
        return predicted_eps(
            self.model,
            x_t,
            t,
            self.schedule,
            predicts=self.predicts,
            flow=self.flow,
        )


def _converted(
    model: Any, predicts: str, flow: Any, schedule: Any, image_shape: Any, multiple: Any
) -> ConvertedPrior:
    """A prior from checked arguments.

    Raises:
      TypeError: if the model is no function.
      ValueError: if another argument is out of range.
    """
    if not callable(model):
        raise TypeError(f"a prior's model must be a function, got {given(model)}")
    check_flag("flow", flow)
    check_count("multiple", multiple)
    if image_shape is not None:
        image_shape = check_image_shape(image_shape)
    return ConvertedPrior(
        as_pytree(model), predicts, flow, as_schedule(schedule), image_shape, multiple
    )


def from_eps(
    eps: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    flow: bool = False,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a function that predicts the noise: eps(x_t, t) -> eps.

    Args:
      eps: a function, or a callable pytree such as `jax.tree_util.Partial`, whose
        leaves are the prior's.
      schedule: a schedule, or "linear" or "cosine".
      flow: whether the model was trained by flow matching, and is called as
        model(x_tau, tau); see `from_velocity`.
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_eps(lambda x_t, t: 0.5 * x_t)
      >>> float(prior(np.ones((4, 4, 1), np.float32), 10).mean())
      0.5
    """
    return _converted(eps, "eps", flow, schedule, image_shape, multiple)


def from_denoiser(
    denoiser: Callable[[Image, Timestep], Image],
    schedule: Schedule | str = "linear",
    *,
    flow: bool = False,
    image_shape: ImageShape | None = None,
    multiple: int = 1,
) -> ConvertedPrior:
    """A prior from a model that predicts the clean image: denoiser(x_t, t) -> x0.

    Its noise is eps = (x_t - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar).

    Args:
      denoiser: a function, or a callable pytree such as `jax.tree_util.Partial`, whose
        leaves are the prior's.
      schedule: a schedule, or "linear" or "cosine".
      flow: whether the model was trained by flow matching, and is called as
        model(x_tau, tau); see `from_velocity`.
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_denoiser(lambda x_t, t: 0.0 * x_t)
      >>> round(float(prior(np.ones((4, 4, 1), np.float32), 999).mean()), 3)
      1.0
    """
    return _converted(denoiser, "x0", flow, schedule, image_shape, multiple)


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
      flow: whether the model was trained by flow matching.
      image_shape: (height, width, channels) of its images; None for any size.
      multiple: height and width must be multiples of this.

    References: Salimans and Ho 2022 (v); Liu et al. 2023 (rectified flow).

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.from_velocity(lambda x_tau, tau: 0.0 * x_tau, flow=True)
      >>> prior(np.ones((4, 4, 1), np.float32), 999).shape
      (4, 4, 1)
    """
    return _converted(velocity, "v", flow, schedule, image_shape, multiple)
