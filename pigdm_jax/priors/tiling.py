"""A prior for large images, made of a prior for small ones."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, ImageShape
from pigdm_jax.priors.base import Prior, Timestep
from pigdm_jax.priors.schedule import Schedule

# Neighbouring windows share this part of their side.
OVERLAP = 4


@pytree_class
class TiledPrior(Prior):
    """A prior evaluated on overlapping windows; made by `tiled`."""

    prior: Any
    tile: int = static_field()
    overlap: int = static_field()
    chunk: int = static_field()
    seen: Any = None  # an image of the whole, or None

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """That of the prior inside."""
        return self.prior.schedule

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Height and width must be multiples of this."""
        return self.prior.multiple

    @property
    def trained_size(self) -> int | None:  # type: ignore[override]
        """That of the prior inside."""
        return self.prior.trained_size

    @property
    def sees(self) -> str | None:  # type: ignore[override]
        """What the prior inside sees besides x_t."""
        return self.prior.sees

    @property
    def smallest(self) -> int:  # type: ignore[override]
        """Height and width must be at least this."""
        return self.tile if self.prior.image_shape is not None else 1

    def memory(self, image_shape: ImageShape) -> int:
        """Bytes of the windows that are evaluated together."""
        window = (*self._window(image_shape), image_shape[2])
        return self.chunk * self.prior.memory(window)

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "TiledPrior":
        """The prior inside given a class label; an image is cut into windows too.

        Raises:
          ValueError: if the prior inside takes no such condition.
        """
        inside = self.prior.condition(label=label, image=image)
        seen = self.seen if image is None else jnp.asarray(image, jnp.float32)
        return dataclasses.replace(self, prior=inside, seen=seen)

    def _window(self, shape: ImageShape) -> tuple[int, int]:
        """Height and width of the windows: the tile, or a smaller image's own."""
        return min(self.tile, shape[0]), min(self.tile, shape[1])

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t: the windows' own, blended where they overlap."""
        height, width = self._window(x_t.shape)
        tops = window_starts(x_t.shape[0], height, self.overlap)
        lefts = window_starts(x_t.shape[1], width, self.overlap)
        places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1).reshape(-1, 2)
        rows = places[:, :1] + np.arange(height)
        columns = places[:, 1:] + np.arange(width)
        at = (rows[:, :, None], columns[:, None, :])

        # Rematerialised, so that the backward pass holds one chunk's activations. In a
        # loop nothing can be merged with the forward pass, so no barrier is needed.
        @partial(jax.checkpoint, prevent_cse=False)
        def evaluate(windows: tuple[Image, Image | None]) -> Image:
            window, seen = windows
            return self.prior.condition(image=seen)(window, t)

        seen = self.seen
        if seen is not None:
            shape = (*x_t.shape[:2], seen.shape[-1])
            seen = jax.image.resize(seen, shape, "linear")[at]
        eps = jax.lax.map(evaluate, (x_t[at], seen), batch_size=self.chunk)

        weight = np.outer(ramp(height, self.overlap), ramp(width, self.overlap))
        total = np.zeros(x_t.shape[:2])
        np.add.at(total, at, weight)
        shares = (weight / total[at])[..., None].astype(np.float32)
        return jnp.zeros(x_t.shape).at[at].add(shares * eps)


def tiled(prior: Prior, tile: int, overlap: int, *, chunk: int = 4) -> TiledPrior:
    """A prior for images of any size, from one for images of a fixed or small size.

    The image is covered by windows of tile x tile pixels; where they overlap, their
    eps are averaged with weights that fall linearly towards each window's border. The
    result is differentiable. Time grows with the number of pixels, and memory holds
    `chunk` windows at once, also in the backward pass. What a prior would know from
    beyond a window's border is lost.

    Args:
      prior: the prior for the windows.
      tile: side of the windows in pixels; the prior's own size, if it has one. An
        image smaller than that is a window of its own.
      overlap: how many pixels neighbouring windows share, at least; 0 .. tile - 1. A
        quarter of the tile hides the borders.
      chunk: windows evaluated together.

    Raises:
      ValueError: if tile, overlap or chunk make no sense for the prior.
    """
    own = prior.image_shape
    if own is not None and (own[0] != tile or own[1] != tile):
        raise ValueError(f"this prior is for {own[0]} x {own[1]}, so that is the tile")
    multiple = prior.multiple
    if tile < 1 or tile % multiple:
        raise ValueError(
            f"tile must be a multiple of {multiple} for this prior, got {tile}"
        )
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap must be from 0 to {tile - 1}, got {overlap}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    return TiledPrior(prior, tile, overlap, chunk, prior.seen)


def window_starts(length: int, window: int, overlap: int) -> Int[np.ndarray, " n"]:
    """Where windows begin along an axis, spread evenly from border to border."""
    count = -(-(length - overlap) // (window - overlap)) if length > window else 1
    return np.rint(np.linspace(0, length - window, count)).astype(int)


def ramp(window: int, overlap: int) -> Float[np.ndarray, " n"]:
    """Weights along an axis of a window: 1 inside, falling over the overlap."""
    from_border = np.minimum(np.arange(window), np.arange(window)[::-1])
    return np.minimum((from_border + 1) / (overlap + 1), 1.0)


def fit_prior(prior: Prior, image_shape: ImageShape, tile: int | None) -> Prior:
    """A prior that takes the image: itself, or tiled if it is asked for or has to be.

    Raises:
      ValueError: if the tile does not suit the prior.
    """
    own = prior.image_shape
    if tile is None and own is not None and max(image_shape[:2]) > own[0]:
        tile = own[0]
    return prior if tile is None else tiled(prior, tile, tile // OVERLAP)
