"""The update of the weights, as a pure function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Float, Int

from pigdm_jax.core.types import Scalar
from pigdm_jax.networks import Network
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.noise import INTERVALS, Batch, denoising_loss, labels, noisy

# Decay of the running means of loss and gradient norm in metrics.csv.
METRIC_DECAY = 0.98
# Decay of the mean loss in each interval of noise levels.
INTERVAL_DECAY = 0.99
# Kernels with fewer channels than this are not orthogonalised.
MUON_SMALLEST = 16


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
    """Random weights, but 0 in the network's `zero_layers`."""
    side = network.image_size or network.multiple
    x = jnp.zeros((1, side, side, 3))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    params = network.init(
        key,
        x,
        jnp.zeros(1),
        jnp.zeros(1, jnp.int32) if network.num_classes else None,
        x if config.condition else None,
    )["params"]
    zeros = {(name, "kernel") for name in network.zero_layers}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * (_names(path)[-2:] not in zeros), params
    )


def _names(path: tuple) -> tuple[str, ...]:
    """The names of a parameter and its modules, outermost first."""
    return tuple(entry.key for entry in path)


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
    root = jax.random.key(config.seed)
    noise_key, label_key = (jax.random.fold_in(root, i) for i in (1, 2))

    def step(state: TrainState, batch: Batch) -> TrainState:
        inputs = noisy(batch, config, noise_key, state.step, size)
        batch = batch | {"label": labels(batch, config, net, label_key)}
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
        # Weight decay would change them.
        updates = updates | dict.fromkeys(net.constants, 0.0)
        params = optax.apply_updates(state.params, updates)
        decay = _average_decay(config, state.step)
        mean = jnp.minimum(METRIC_DECAY, state.step / (1 + state.step))
        return TrainState(
            step=state.step + 1,
            params=params,
            ema=optax.incremental_update(params, state.ema, 1 - decay),
            optimizer=optimizer_state,
            interval_loss=_interval_means(state.interval_loss, inputs.interval, losses),
            loss=mean * state.loss + (1 - mean) * jnp.mean(losses),
            grad_norm=mean * state.grad_norm + (1 - mean) * optax.tree.norm(gradient),
        )

    return step


def _average_decay(config: TrainConfig, step: Int[Array, ""]) -> float | Scalar:
    """The decay of the average of the weights at a step."""
    if config.init is not None:
        return config.ema
    # A faster decay at first, so that the average forgets the random weights.
    return jnp.minimum(config.ema, (1 + step) / (10 + step))


def _interval_means(
    means: Float[Array, " n"], interval: Int[Array, " B"], losses: Float[Array, " B"]
) -> Float[Array, " n"]:
    """The running mean of the loss in each interval, after a batch.

    Args:
      means: before the batch.
      interval: of each crop's noise level.
      losses: of each crop.
    """
    member = jax.nn.one_hot(interval, len(means))
    keep = INTERVAL_DECAY ** member.sum(0)
    newest = losses @ member / jnp.maximum(member.sum(0), 1)
    return keep * means + (1 - keep) * newest
