"""The update of the weights, as a pure function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import PRNGKey, Scalar
from pigdm_jax.networks import Network
from pigdm_jax.training.config import TrainConfig

# Decay of the running means of loss and gradient norm in metrics.csv.
METRIC_DECAY = 0.98
# Intervals of noise levels whose losses are tracked, and the decay of their means.
INTERVALS, INTERVAL_DECAY = 16, 0.99
# Kernels with fewer channels than this are not orthogonalised.
MUON_SMALLEST = 16

Batch = dict[str, Any]


class TrainState(NamedTuple):
    """The state of a run after some steps.

    Attributes:
      step: number of updates done.
      params: the weights, float32.
      ema: their moving average, the weights of the resulting prior.
      optimizer: optax's state.
      interval_loss: running mean of the loss in each interval of noise levels.
      loss, grad_norm: running means over about 50 steps.
    """

    step: Int[Array, ""]
    params: Any
    ema: Any
    optimizer: Any
    interval_loss: Float[Array, " INTERVALS"]
    loss: Scalar
    grad_norm: Scalar


def make_optimizer(
    config: TrainConfig,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer, with clipped gradients, and its learning rate.

    The learning rate rises linearly, is constant, and falls along a cosine at the end.
    """
    warmup = min(config.warmup, config.steps // 2)
    falling = min(round(config.decay * config.steps), config.steps - warmup)
    parts = [
        optax.linear_schedule(0.0, config.lr, warmup),
        optax.constant_schedule(config.lr),
    ]
    if falling:
        parts.append(optax.cosine_decay_schedule(config.lr, falling))
    boundaries = [warmup, config.steps - falling]
    rate = optax.join_schedules(parts, boundaries[: len(parts) - 1])
    if config.optimizer == "muon":
        # With a root mean square of 0.2 its updates are as large as Adam's, so the same
        # learning rate can be used (Liu et al. 2025, "Muon is scalable").
        update = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            adam_b2=0.99,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=_as_matrices,
        )
    else:
        update = optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip), update), rate


def _as_matrices(params: Any) -> Any:
    """The axes of each kernel that Muon treats as rows and columns; None for AdamW.

    Vectors and kernels with few channels, as in the first and last layer, use AdamW.
    """

    def axes(leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        if leaf.ndim < 2 or min(leaf.shape[-2:]) < MUON_SMALLEST:
            return None
        rows = tuple(range(leaf.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(rows, (leaf.ndim - 1,))

    return jax.tree.map(axes, params)


def init_state(config: TrainConfig, network: Network, params: Any = None) -> TrainState:
    """The state before the first step.

    Args:
      config: of the run.
      network: the network.
      params: the weights to start from; None for random ones, which depend on the seed.
    """
    if params is None:
        params = _random_params(config, network)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        optimizer=make_optimizer(config)[0].init(params),
        interval_loss=jnp.ones(INTERVALS),
        loss=jnp.float32(0),
        grad_norm=jnp.float32(0),
    )


def _random_params(config: TrainConfig, network: Network) -> Any:
    """Random weights, where residual branches and the network start at 0."""
    side = network.multiple
    x = jnp.zeros((1, side, side, 3))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    params = network.init(
        key,
        x,
        jnp.zeros(1),
        jnp.zeros(1, jnp.int32) if network.num_classes else None,
        x if config.condition else None,
    )["params"]
    return jax.tree_util.tree_map_with_path(_zero_where_last, params)


def _zero_where_last(path: tuple, leaf: Array) -> Array:
    """0 for the last kernel of a residual branch or of the network, as in ADM."""
    layer, kind = (entry.key for entry in path[-2:])
    ends = layer in ("out_2", "out_layers_3", "proj_out") and kind == "kernel"
    return jnp.zeros_like(leaf) if ends else leaf


class Noisy(NamedTuple):
    """A batch of noisy images with the network's targets.

    Attributes:
      x_t: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
      t: the network's steps.
      target: eps, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.
      interval: index of the interval of noise levels, 0 .. INTERVALS - 1; uniform.
    """

    x_t: Float[Array, "B H W 3"]
    t: Float[Array, " B"]
    target: Float[Array, "B H W 3"]
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
    """
    schedule, index = config.noise_schedule(), batch["index"]
    level_key, noise_key = jax.random.split(key)
    offset = jax.random.uniform(jax.random.fold_in(level_key, step))
    level = jnp.mod(offset + (index % size) / size, 1.0)
    interval = (level * INTERVALS).astype(jnp.int32)
    if config.spacing == "quadratic":
        level = level**2
    t = jnp.minimum(
        (level * schedule.num_steps).astype(jnp.int32), schedule.num_steps - 1
    )
    eps = jax.vmap(
        lambda i, x: jax.random.normal(jax.random.fold_in(noise_key, i), x.shape)
    )(index, batch["image"])
    alpha_bar = jnp.asarray(schedule.alpha_bar, jnp.float32)[t][:, None, None, None]
    one_minus = jnp.asarray(1 - schedule.alpha_bar, jnp.float32)[t][:, None, None, None]
    x_t = jnp.sqrt(alpha_bar) * batch["image"] + jnp.sqrt(one_minus) * eps
    target = eps
    if config.predicts == "v":
        target = jnp.sqrt(alpha_bar) * eps - jnp.sqrt(one_minus) * batch["image"]
    return Noisy(x_t, t.astype(jnp.float32), target, interval)


def denoising_loss(
    params: Any, net: Network, batch: Batch, noisy: Noisy
) -> Float[Array, " B"]:
    """The mean squared error of the prediction for each image of a batch.

    Args:
      params: the weights.
      net: the network.
      batch: "label" and "condition", if the network takes them.
      noisy: the noisy images and their targets.

    Reference: Ho et al. 2020, equation 14 (eps); Salimans and Ho 2022 (v).
    """
    label = batch["label"] if net.num_classes else None
    out: Any = net.apply(
        {"params": params}, noisy.x_t, noisy.t, label, batch.get("condition")
    )
    # A learned variance is not trained.
    out = out[..., : noisy.target.shape[-1]].astype(jnp.float32)
    return jnp.mean((out - noisy.target) ** 2, axis=(1, 2, 3))


def interval_weights(interval_loss: Float[Array, " n"]) -> Float[Array, " n"]:
    """Weights 1 / loss, normalised to mean 1, so that relative errors count equally.

    The irreducible loss depends on the noise level. Where it is large, its gradient
    noise would dominate that of all other levels. The uncertainty that Karras et al.
    2024 learn for each level gives the same weights.

    Args:
      interval_loss: running mean of the loss in each interval of noise levels.
    """
    inverse = 1 / jnp.maximum(interval_loss, 1e-4)
    return inverse / jnp.mean(inverse)


def make_step(
    config: TrainConfig, net: Network, size: int
) -> Callable[[TrainState, Batch], TrainState]:
    """The update for batches of `size` crops, without `jit`.

    Args:
      config: of the run.
      net: the network.
      size: number of crops in a batch, over all processes.
    """
    optimizer, _ = make_optimizer(config)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)

    def step(state: TrainState, batch: Batch) -> TrainState:
        inputs = noisy(batch, config, key, state.step, size)
        weights = jnp.ones_like(inputs.t)
        if config.weighting == "balanced":
            weights = interval_weights(state.interval_loss)[inputs.interval]

        def weighted_loss(params: Any) -> tuple[Scalar, Float[Array, " B"]]:
            losses = denoising_loss(params, net, batch, inputs)
            return jnp.mean(weights * losses), losses

        gradient, losses = jax.grad(weighted_loss, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        decay: Any = config.ema
        if config.init is None:
            # A faster decay at first, so that the average forgets the random weights.
            decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        mean = jnp.minimum(METRIC_DECAY, state.step / (1 + state.step))
        member = jax.nn.one_hot(inputs.interval, INTERVALS)
        keep = INTERVAL_DECAY ** member.sum(0)
        newest = losses @ member / jnp.maximum(member.sum(0), 1)
        return TrainState(
            step=state.step + 1,
            params=params,
            ema=optax.incremental_update(params, state.ema, 1 - decay),
            optimizer=optimizer_state,
            interval_loss=keep * state.interval_loss + (1 - keep) * newest,
            loss=mean * state.loss + (1 - mean) * jnp.mean(losses),
            grad_norm=mean * state.grad_norm + (1 - mean) * optax.tree.norm(gradient),
        )

    return step
