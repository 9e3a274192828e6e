"""What a prior is, and the constructors of priors.

A prior is a pytree called as `prior(x_t, t) -> eps` for one image: the noise that a
diffusion model sees in x_t at network step t. It carries the schedule it was made for.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from pigdm_jax.pytree import pytree_class, static_field
from pigdm_jax.schedule import Schedule, as_schedule
from pigdm_jax.types import AnyArray, Image, ImageShape, Number, PRNGKey
from pigdm_jax.unet import UNet, UNetConfig

Timestep = Number
# What a network may have been trained to predict; see `unet_prior`.
PREDICTIONS = ("eps", "x0", "v")
# What it may see of the measurement besides x_t; see `Prior.sees`.
SEEN = ("pinv", "upsample")


class Prior(abc.ABC):
    """A diffusion model of single images; a frozen pytree.

    What is abstract must be written; everything else has a default.

    Attributes:
      schedule: the noise schedule of its steps; abstract.
      image_shape: the (height, width, channels) it is made for; None for any size.
      multiple: height and width must be multiples of this.
      smallest: height and width must be at least this.
      trained_size: side of the images it was trained on, where it is known.
      sees: the image besides x_t that it was trained with, in the words of `restore`'s
        `init`: "pinv" or "upsample" of the measurement; None for none.
      seen: that image, where `condition` has given one. `restore` gives it otherwise.
    """

    schedule: Schedule
    image_shape: ImageShape | None = None
    multiple: int = 1
    smallest: int = 1
    trained_size: int | None = None
    sees: str | None = None
    seen: Image | None = None

    @abc.abstractmethod
    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t at network step t, 0 .. T - 1 (a float is allowed)."""

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes that one evaluation for such an image takes at the least."""
        del image_shape
        return 0

    def rematerialised(self) -> "Prior":
        """The prior recomputing activations in the backward pass, where it can."""
        return self

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "Prior":
        """The prior given a class label, or an image that it sees besides x_t.

        Raises:
          ValueError: if it takes no such condition.
        """
        for name, value in (("class label", label), ("image besides x_t", image)):
            if value is not None:
                raise ValueError(f"this prior takes no {name}")
        return self


def _alpha_bar(schedule: Schedule, t: Timestep) -> Float[Array, " 2"]:
    """(alpha_bar, 1 - alpha_bar) at step t, between steps by linear interpolation."""
    table = np.stack([schedule.alpha_bar, 1 - schedule.alpha_bar], axis=-1)
    steps = jnp.arange(schedule.num_steps, dtype=jnp.float32)
    at = jnp.asarray(t, jnp.float32)
    return jax.vmap(lambda column: jnp.interp(at, steps, column))(
        jnp.asarray(table.T, jnp.float32)
    )


def _as_eps(
    predicts: str, output: Image, x_t: Image, t: Timestep, schedule: Schedule
) -> Image:
    """The eps that corresponds to a network's prediction of one of PREDICTIONS."""
    if predicts == "eps":
        return output
    alpha_bar, one_minus = _alpha_bar(schedule, t)
    a, s = jnp.sqrt(alpha_bar), jnp.sqrt(one_minus)
    return (x_t - a * output) / s if predicts == "x0" else s * x_t + a * output


@pytree_class
class UNetPrior(Prior):
    """An ADM UNet as a prior; made by `unet_prior`."""

    params: Any
    label: Any  # a whole number, or None
    net: UNet = static_field()
    schedule: Schedule = static_field()
    image_shape: ImageShape | None = static_field()
    predicts: str = static_field(default="eps")
    sees: str | None = static_field(default=None)
    trained_size: int | None = static_field(default=None)
    seen: Any = None  # an image, or None

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return self.net.config.multiple

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the largest attention map and its softmax."""
        config = self.net.config
        deepest = 2 ** (len(config.channel_mult) - 1)
        maps = []
        for level, mult in enumerate(config.channel_mult):
            factor = 2**level
            if factor in (*config.attention_resolutions, deepest):
                heads = config.num_heads
                if config.num_head_channels != -1:
                    channels = int(mult * config.model_channels)
                    heads = channels // config.num_head_channels
                pixels = (image_shape[0] // factor) * (image_shape[1] // factor)
                maps.append(heads * pixels**2)
        return 2 * 4 * max(maps)

    def rematerialised(self) -> "UNetPrior":
        """The prior recomputing its blocks in the backward pass."""
        if self.net.remat:
            return self
        return dataclasses.replace(self, net=self.net.clone(remat=True))

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "UNetPrior":
        """The prior with another class label, or another image besides x_t.

        The image may be smaller than x_t; the network enlarges it linearly.

        Raises:
          ValueError: if it takes no such condition, or the label is out of range.
        """
        changes: dict[str, Any] = {}
        if label is not None:
            changes["label"] = _as_label(label, self.net.config.num_classes)
        if image is not None:
            if self.sees is None:
                raise ValueError("this prior takes no image besides x_t")
            changes["seen"] = jnp.asarray(image, jnp.float32)
        return dataclasses.replace(self, **changes)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t; a learned variance is dropped.

        Raises:
          ValueError: if x_t has other channels or no multiple of `multiple` pixels, or
            the image is missing that the network sees besides it.
        """
        if self.sees is not None and self.seen is None:
            raise ValueError(
                "this network sees an image besides x_t; give it one by "
                "prior.condition(image=...), as `restore` does by itself"
            )
        height, width, channels = x_t.shape
        expected = self.net.config.image_channels
        if channels != expected or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"this network takes images of {expected} channels whose sides are "
                f"multiples of {self.multiple}, got {x_t.shape}"
            )
        out = self.net.apply(
            {"params": self.params},
            jnp.asarray(x_t)[None],
            jnp.asarray(t, jnp.float32)[None],
            None if self.label is None else self.label[None],
            None if self.seen is None else self.seen[None],
        )
        return _as_eps(
            self.predicts, out[0, ..., : x_t.shape[-1]], x_t, t, self.schedule
        )


def unet_prior(
    config: UNetConfig,
    params: Any,
    schedule: Schedule | str,
    label: int | np.integer | Int[AnyArray, ""] | None = None,
    *,
    predicts: str = "eps",
    sees: str | None = None,
    trained_size: int | None = None,
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> UNetPrior:
    """A prior from an ADM UNet.

    Args:
      config: the network's configuration.
      params: its parameters, as `UNet(config).init` lays them out.
      schedule: the schedule it was trained with, or "linear" or "cosine".
      label: class index, if and only if the network has classes; a leaf, so a vmapped
        batch may hold different labels.
      predicts: what the network was trained to predict: "eps", "x0", or "v", which is
        sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans and Ho 2022).
      sees: what a network that takes an image besides x_t was trained to see: the
        measurement's "pinv", or "upsample", the small picture enlarged linearly, as
        the super-resolution networks of Dhariwal and Nichol 2021. `restore` gives it
        the image; `condition` gives another.
      trained_size: side of the images it was trained on, for `Prior.trained_size`.
      dtype: of convolutions and matrix products; norms and softmax stay float32.
      remat: recompute blocks in the backward pass: less memory, more time.

    Raises:
      ValueError: if a label or `sees` is missing, superfluous or out of range, or
        `predicts` is none of these.
    """
    if predicts not in PREDICTIONS:
        raise ValueError(
            f"a network predicts {' or '.join(PREDICTIONS)}, got {predicts!r}"
        )
    classes = config.num_classes
    if classes is not None and label is None:
        raise ValueError(
            f"this network needs a class label, 0 to {classes - 1}; pass label="
        )
    if label is not None:
        label = _as_label(label, classes)
    takes_image = config.in_channels != config.image_channels
    if takes_image != (sees is not None) or sees not in (None, *SEEN):
        raise ValueError(
            f"a network that takes an image besides x_t sees one of {', '.join(SEEN)}, "
            f"any other None; this one {'does' if takes_image else 'does not'}, and "
            f"got {sees!r}"
        )
    size = config.image_size
    return UNetPrior(
        params=params,
        label=label,
        net=UNet(config, dtype=dtype, remat=remat),
        schedule=as_schedule(schedule),
        image_shape=None if size is None else (size, size, config.image_channels),
        predicts=predicts,
        sees=sees,
        trained_size=trained_size,
    )


def _as_label(label: Any, classes: int | None) -> Int[Array, "..."]:
    """A class index as an array.

    Raises:
      ValueError: if the network has no classes, or the label is out of range.
    """
    if classes is None:
        raise ValueError("this network has no classes, so it takes no label")
    known = isinstance(label, int | np.integer)
    if known and not 0 <= label < classes:
        raise ValueError(f"label must be from 0 to {classes - 1}, got {label}")
    return jnp.asarray(label, jnp.int32)


@pytree_class
class MixturePrior(Prior):
    """A Gaussian mixture; made by `mixture_prior` or `gaussian_prior`."""

    log_weights: Any  # K
    means: Any  # K x n
    # Covariances as eigenvectors (columns) and eigenvalues: every noise level then
    # costs two matrix products instead of a factorisation.
    eigenvectors: Any  # K x n x n
    eigenvalues: Any  # K x n
    schedule: Schedule = static_field()
    image_shape: ImageShape = static_field()
    multiple: int = static_field(default=1)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The exact eps = -sqrt(1 - alpha_bar) grad log p_t(x_t)."""
        alpha_bar, one_minus = _alpha_bar(self.schedule, t)
        high = jax.lax.Precision.HIGHEST
        centred = x_t.reshape(-1) - jnp.sqrt(alpha_bar) * self.means
        spectrum = alpha_bar * self.eigenvalues + one_minus
        along = jnp.einsum("kji,kj->ki", self.eigenvectors, centred, precision=high)
        log_density = self.log_weights - 0.5 * jnp.sum(
            along**2 / spectrum + jnp.log(spectrum), axis=-1
        )
        whitened = jnp.einsum(
            "kij,kj->ki", self.eigenvectors, along / spectrum, precision=high
        )
        eps = jnp.sqrt(one_minus) * jax.nn.softmax(log_density) @ whitened
        return eps.reshape(x_t.shape)

    @property
    def mean(self) -> Image:
        """The mean image."""
        return (jnp.exp(self.log_weights) @ self.means).reshape(self.image_shape)

    @property
    def covariance(self) -> Float[Array, "n n"]:
        """The covariance of the flattened pixels, n = H W C."""
        high = jax.lax.Precision.HIGHEST
        weights = jnp.exp(self.log_weights)
        centred = self.means - weights @ self.means
        roots = self.eigenvectors * jnp.sqrt(self.eigenvalues)[:, None]
        within = jnp.einsum("k,kij,klj->il", weights, roots, roots, precision=high)
        between = jnp.einsum("k,ki,kl->il", weights, centred, centred, precision=high)
        return within + between

    def sample(self, key: PRNGKey) -> Image:
        """One image drawn from the mixture; `jax.vmap` over keys for more."""
        which_key, key = jax.random.split(key)
        k = jax.random.categorical(which_key, self.log_weights)
        z = jax.random.normal(key, self.eigenvalues[k].shape)
        spread = self.eigenvectors[k] @ (jnp.sqrt(self.eigenvalues[k]) * z)
        return (self.means[k] + spread).reshape(self.image_shape)


def mixture_prior(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    schedule: Schedule | str = "linear",
) -> MixturePrior:
    """A mixture of K Gaussians over images, with the exact eps at every step.

    Args:
      weights: K positive numbers; they are normalised.
      means: K images, (K, H, W, C).
      covariances: (K, n, n) over each image's flattened pixels, n = H W C.
      schedule: a schedule, or "linear" or "cosine".

    Raises:
      ValueError: if shapes disagree, a weight is not positive or a covariance has a
        negative eigenvalue.
    """
    weights, means, covariances = (
        np.asarray(a, np.float64) for a in (weights, means, covariances)
    )
    if means.ndim != 4:
        raise ValueError(f"means must have shape (K, H, W, C), got {means.shape}")
    k, n = means.shape[0], int(np.prod(means.shape[1:]))
    if weights.shape != (k,) or covariances.shape != (k, n, n):
        raise ValueError(
            f"for means {means.shape} weights must have shape {(k,)} and covariances "
            f"{(k, n, n)}, got {weights.shape} and {covariances.shape}"
        )
    if not (weights > 0).all():
        raise ValueError("every weight must be positive")
    eigenvalues, eigenvectors = np.linalg.eigh(covariances)
    if eigenvalues.min() < -1e-6 * max(eigenvalues.max(), 1e-30):
        raise ValueError("a covariance has a negative eigenvalue")
    return MixturePrior(
        log_weights=jnp.asarray(np.log(weights / weights.sum()), jnp.float32),
        means=jnp.asarray(means.reshape(k, n), jnp.float32),
        eigenvectors=jnp.asarray(eigenvectors, jnp.float32),
        eigenvalues=jnp.asarray(np.maximum(eigenvalues, 0), jnp.float32),
        schedule=as_schedule(schedule),
        image_shape=tuple(int(s) for s in means.shape[1:]),
    )


def gaussian_prior(
    mean: ArrayLike,
    covariance: ArrayLike,
    schedule: Schedule | str = "linear",
) -> MixturePrior:
    """A Gaussian over images, with the exact eps at every step.

    Args:
      mean: an image, (H, W, C).
      covariance: (n, n) over its flattened pixels, n = H W C.
      schedule: a schedule, or "linear" or "cosine".

    Raises:
      ValueError: if shapes disagree or the covariance has a negative eigenvalue.
    """
    return mixture_prior(
        np.ones(1), np.asarray(mean)[None], np.asarray(covariance)[None], schedule
    )


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
            return _as_eps(self.predicts, self.model(x_t, t), x_t, t, self.schedule)
        alpha_bar, one_minus = _alpha_bar(self.schedule, t)
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
        _as_pytree(eps), "eps", as_schedule(schedule), image_shape, multiple
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
        _as_pytree(denoiser), "x0", as_schedule(schedule), image_shape, multiple
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
        _as_pytree(velocity), predicts, as_schedule(schedule), image_shape, multiple
    )


def _as_pytree(model: Callable) -> Any:
    """The model, made a pytree without leaves if it is a plain function."""
    if jax.tree.leaves(model) == [model]:
        return jax.tree_util.Partial(model)
    return model
