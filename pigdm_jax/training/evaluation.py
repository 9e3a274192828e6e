"""Evaluation of a run's averaged weights: a held-out loss, and samples."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.networks import Network
from pigdm_jax.operators.inpainting import inpaint
from pigdm_jax.pictures.figures import side_by_side
from pigdm_jax.pictures.writing import write_picture
from pigdm_jax.priors.network import network_prior
from pigdm_jax.problem import Problem
from pigdm_jax.restoration import restore
from pigdm_jax.samplers.ddim import DDIM
from pigdm_jax.training.condition import pseudoinverses
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.crops import crop_of
from pigdm_jax.training.noise import denoising_loss, labels, noisy
from pigdm_jax.training.photos import Collection
from pigdm_jax.training.step import TrainState

CROPS, SAMPLES, SAMPLE_STEPS = 64, 4, 50


def held_out_loss(
    config: TrainConfig, net: Network, state: TrainState, photos: Collection, crop: int
) -> float:
    """The loss of the averaged weights on CROPS held-out crops, always the same ones.

    Args:
      config: of the run.
      net: the network.
      state: of the run.
      photos: the photos, of which those held out are used.
      crop: side of the crops in pixels.
    """
    records = [
        crop_of(
            photos.held_out[i % len(photos.held_out)], crop, np.random.default_rng(i)
        )
        for i in range(CROPS)
    ]
    batch = {
        name: np.stack([record[name] for record in records])
        for name in ("image", "label")
    } | {"index": np.arange(CROPS, dtype=np.int32)}
    if config.condition:
        batch["condition"] = pseudoinverses(config.condition, batch["image"])
    return float(_loss(net, config, state.ema, batch))


def write_samples(
    config: TrainConfig,
    net: Network,
    state: TrainState,
    photos: Collection,
    crop: int,
    folder: Path,
) -> None:
    """Write SAMPLES samples of the averaged weights as one picture.

    Args:
      config: of a run without a condition.
      net: the network.
      state: of the run.
      photos: the photos, for the names of the classes.
      crop: side of the samples in pixels.
      folder: where the picture is written; its name is the step.
    """
    images, shape = {}, (crop, crop, 3)
    hidden = inpaint(shape, np.zeros(shape[:2], np.float32))
    problem = Problem(hidden, jnp.zeros(shape))
    for i in range(SAMPLES):
        label = None if photos.classes is None else i % len(photos.classes)
        prior = network_prior(
            net.clone(dtype=jnp.float32, remat=False),
            state.ema,
            config.schedule,
            label=label,
            predicts=config.predicts,
            flow=config.flow,
        )
        image = restore(prior, problem, jax.random.key(i), DDIM(SAMPLE_STEPS))
        name = str(i + 1) if photos.classes is None else photos.classes[label or 0]
        images[f"{name} "] = np.asarray(jnp.clip(image, -1, 1))
    folder.mkdir(exist_ok=True)
    write_picture(folder / f"{int(state.step):07d}.png", side_by_side(images))


@partial(jax.jit, static_argnums=(0, 1))
def _loss(net: Network, config: TrainConfig, params: Any, batch: Any) -> Any:
    inputs = noisy(batch, config, jax.random.key(0), jnp.int32(0), CROPS)
    batch = batch | {"label": labels(batch, config, net)}
    return jnp.mean(denoising_loss(params, net, batch, inputs))
