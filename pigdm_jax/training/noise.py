"""Noisy images with what the network is to predict from them, as pure functions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import PRNGKey
from pigdm_jax.networks import Network
from pigdm_jax.priors.conversions import training_target
from pigdm_jax.training.config import TrainConfig

# Intervals of noise levels whose losses are tracked.
INTERVALS = 16
# Of logit(tau) for logit-normal flow times, tau = 1 for pure noise (JiT).
LOGIT_MEAN, LOGIT_STD = 0.8, 0.8
# The velocity's error is the image's divided by tau, or by this where tau is smaller.
LEAST_TAU = 0.05
# Share of the labels that are replaced by the label for no class, where there is one.
UNLABELLED = 0.1

Batch = dict[str, Any]


class Noisy(NamedTuple):
    """A batch of noisy images with the network's targets.

    Attributes:
      x_t: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps; of a flow, the mixture
        (1 - tau) x0 + tau eps.
      t: the network's steps; of a flow, tau.
      target: eps, x0 or v; see `training_target`.
      weight: of each image's squared error; 1, but for a flow that predicts x0, whose
        weighted error is the velocity's.
      interval: index of the interval of noise levels, 0 .. INTERVALS - 1; uniform.
    """

    x_t: Float[Array, "B H W 3"]
    t: Float[Array, " B"]
    target: Float[Array, "B H W 3"]
    weight: Float[Array, " B"]
    interval: Int[Array, " B"]


def noisy(
    batch: Batch, config: TrainConfig, key: PRNGKey, step: Int[Array, ""], size: int
) -> Noisy:
    """Add noise to a batch of clean images.

    The key of a crop's noise is folded with the crop's number, so the noise does not
    depend on the crop's position in the batch or its device. The timesteps of a batch
    are evenly spaced with a random offset, which makes the loss less noisy than
    independent timesteps.

    Args:
      batch: "image", (B, H, W, 3) in [-1, 1], and "index", (B,).
      config: of the run.
      key: of the run's noise.
      step: number of updates done.
      size: number of crops in the whole batch, over all processes.

    References: Liu et al. 2023 (rectified flow); Li and He 2025 (logit-normal times,
    and the velocity's error of a network that predicts x0).
    """
    x0, index = batch["image"], batch["index"]
    level_key, noise_key = jax.random.split(key)
    offset = jax.random.uniform(jax.random.fold_in(level_key, step))
    level = jnp.mod(offset + (index % size) / size, 1.0)
    interval = (level * INTERVALS).astype(jnp.int32)
    level = _spaced(level, config.spacing)
    eps = jax.vmap(
        lambda i, x: jax.random.normal(jax.random.fold_in(noise_key, i), x.shape)
    )(index, x0)
    weight = jnp.ones_like(level)
    if config.flow:
        t, a, s = level, 1 - level, level
        if config.predicts == "x0":
            weight = 1 / jnp.maximum(level, LEAST_TAU) ** 2
    else:
        schedule = config.noise_schedule()
        count = schedule.num_steps
        t = jnp.minimum((level * count).astype(jnp.int32), count - 1)
        a = jnp.sqrt(jnp.asarray(schedule.alpha_bar, jnp.float32)[t])
        s = jnp.sqrt(jnp.asarray(1 - schedule.alpha_bar, jnp.float32)[t])
    a, s = a[:, None, None, None], s[:, None, None, None]
    target = training_target(x0, eps, a, s, predicts=config.predicts, flow=config.flow)
    return Noisy(a * x0 + s * eps, t.astype(jnp.float32), target, weight, interval)


def _spaced(u: Float[Array, " B"], spacing: str) -> Float[Array, " B"]:
    """Noise levels in [0, 1] from uniform ones."""
    match spacing:
        case "quadratic":
            return u**2
        case "logit-normal":
            normal = jax.scipy.special.ndtri(u)
            return jax.nn.sigmoid(LOGIT_MEAN + LOGIT_STD * normal)
    return u


def labels(
    batch: Batch, config: TrainConfig, net: Network, key: PRNGKey | None = None
) -> Int[Array, " B"] | None:
    """The labels to train with; None for a run without classes.

    Args:
      batch: "label" and "index", (B,).
      config: of the run.
      net: the network. If it has a label for no class, a part of the labels is replaced
        by it, so that the prior can be used with and without labels.
      key: of the run's choice of these; None to replace none.

    Reference: Ho and Salimans 2022, "Classifier-free diffusion guidance".
    """
    if not config.classes:
        return None
    if key is None or net.null_label is None:
        return batch["label"]
    dropped = jax.vmap(
        lambda i: jax.random.bernoulli(jax.random.fold_in(key, i), UNLABELLED)
    )(batch["index"])
    return jnp.where(dropped, net.null_label, batch["label"])


def denoising_loss(
    params: Any, net: Network, batch: Batch, noisy: Noisy
) -> Float[Array, " B"]:
    """The weighted mean squared error of the prediction for each image of a batch.

    Args:
      params: the weights.
      net: the network.
      batch: "label" from `labels`, and "condition" if the network takes an image.
      noisy: the noisy images and their targets.

    Reference: Ho et al. 2020, equation 14 (eps); Salimans and Ho 2022 (v); Li and He
    2025, equation 6 (x0 of a flow).
    """
    out: Any = net.apply(
        {"params": params},
        noisy.x_t,
        noisy.t,
        batch.get("label"),
        batch.get("condition"),
    )
    # A learned variance is not trained.
    out = out[..., : noisy.target.shape[-1]].astype(jnp.float32)
    return noisy.weight * jnp.mean((out - noisy.target) ** 2, axis=(1, 2, 3))
