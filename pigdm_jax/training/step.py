"""One update of the weights, as a pure function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from pigdm_jax.schedule import Schedule
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.types import PRNGKey, Scalar
from pigdm_jax.unet import UNet, UNetConfig

# Decay of the running means in metrics.csv.
METRIC_DECAY = 0.98

Batch = dict[str, Any]


class TrainState(NamedTuple):
    """All that a run carries from step to step.

    Attributes:
      step: updates done.
      params: the weights, float32.
      ema: their moving average, which becomes the prior.
      optimizer: optax's state.
      loss, grad_norm: running means over about 50 steps.
    """

    step: Int[Array, ""]
    params: Any
    ema: Any
    optimizer: Any
    loss: Scalar
    grad_norm: Scalar


def make_optimizer(
    config: TrainConfig,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW with clipped gradients, warm-up and cosine; and its learning rate."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.lr, min(config.warmup, config.steps // 2), config.steps
    )
    return (
        optax.chain(
            optax.clip_by_global_norm(config.clip),
            optax.adamw(rate, b2=0.99, weight_decay=config.weight_decay),
        ),
        rate,
    )


def init_state(config: TrainConfig, network: UNetConfig) -> TrainState:
    """The state before the first step, decided by the seed."""
    side = network.multiple
    x = jnp.zeros((1, side, side, 3))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    params = UNet(network).init(
        key,
        x,
        jnp.zeros(1),
        jnp.zeros(1, jnp.int32) if network.num_classes else None,
        x if config.condition else None,
    )["params"]
    params = jax.tree_util.tree_map_with_path(_zero_where_last, params)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        optimizer=make_optimizer(config)[0].init(params),
        loss=jnp.float32(0),
        grad_norm=jnp.float32(0),
    )


def _zero_where_last(path: tuple, leaf: Array) -> Array:
    """0 for the kernels that end a residual branch or the network, as in ADM."""
    layer, kind = (entry.key for entry in path[-2:])
    ends = layer in ("out_2", "out_layers_3", "proj_out") and kind == "kernel"
    return jnp.zeros_like(leaf) if ends else leaf


def noisy(
    batch: Batch, schedule: Schedule, key: PRNGKey, step: Int[Array, ""], size: int
) -> tuple[Float[Array, "B H W 3"], Float[Array, " B"], Float[Array, "B H W 3"]]:
    """(x_t, t, eps) for a batch of clean images.

    A crop's noise is keyed by its number, so it does not depend on where in the batch,
    or on which device, it is. The timesteps of a batch are spread evenly, from a random
    start, which makes the loss less noisy than independent ones.
    """
    index = batch["index"]
    level_key, noise_key = jax.random.split(key)
    spread = jax.random.uniform(jax.random.fold_in(level_key, step))
    share = jnp.mod(spread + (index % size) / size, 1.0)
    t = jnp.minimum(
        (share * schedule.num_steps).astype(jnp.int32), schedule.num_steps - 1
    )
    eps = jax.vmap(
        lambda i, x: jax.random.normal(jax.random.fold_in(noise_key, i), x.shape)
    )(index, batch["image"])
    alpha_bar = jnp.asarray(schedule.alpha_bar, jnp.float32)[t][:, None, None, None]
    one_minus = jnp.asarray(1 - schedule.alpha_bar, jnp.float32)[t][:, None, None, None]
    x_t = jnp.sqrt(alpha_bar) * batch["image"] + jnp.sqrt(one_minus) * eps
    return x_t, t.astype(jnp.float32), eps


def score_matching_loss(
    params: Any,
    net: UNet,
    batch: Batch,
    x_t: Float[Array, "B H W 3"],
    t: Float[Array, " B"],
    eps: Float[Array, "B H W 3"],
) -> Scalar:
    """Mean squared error of the predicted noise (Ho et al. 2020, equation 14)."""
    label = batch["label"] if net.config.num_classes else None
    out = net.apply({"params": params}, x_t, t, label, batch.get("condition"))
    return jnp.mean((out.astype(jnp.float32) - eps) ** 2)


def make_step(
    config: TrainConfig, net: UNet, size: int
) -> Callable[[TrainState, Batch], TrainState]:
    """The update for batches of `size` crops; to be jitted."""
    optimizer, _ = make_optimizer(config)
    schedule = config.noise_schedule()
    key = jax.random.fold_in(jax.random.key(config.seed), 1)

    def step(state: TrainState, batch: Batch) -> TrainState:
        inputs = noisy(batch, schedule, key, state.step, size)
        loss, gradient = jax.value_and_grad(score_matching_loss)(
            state.params, net, batch, *inputs
        )
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        # The average forgets the first steps sooner than its decay would.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        mean = jnp.minimum(METRIC_DECAY, state.step / (1 + state.step))
        return TrainState(
            step=state.step + 1,
            params=params,
            ema=optax.incremental_update(params, state.ema, 1 - decay),
            optimizer=optimizer_state,
            loss=mean * state.loss + (1 - mean) * loss,
            grad_norm=mean * state.grad_norm + (1 - mean) * optax.global_norm(gradient),
        )

    return step
