"""A prior for large images from a prior for small ones."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, ImageShape
from pigdm_jax.priors.base import Prior, Timestep, check_prior
from pigdm_jax.priors.wrapper import PriorWrapper

# The overlap of windows that `fit_prior` chooses is the tile divided by this.
OVERLAP = 4
# Sides of up to WHOLE times the trained size are restored whole. Beyond, group norms
# and attention see more pixels than in training: denoising gets worse, and far beyond
# there are spots of saturated colour. Windows have sides of up to LARGEST times it.
WHOLE, LARGEST = 2, 4 / 3


@pytree_class
class TiledPrior(PriorWrapper):
    """A prior evaluated on overlapping windows; made by `tiled`.

    Attributes:
      prior: the prior for the windows.
      tile: side of the windows in pixels.
      overlap: least number of pixels that neighbouring windows have in common.
      chunk: number of windows evaluated together.
      seen: the image that the prior takes besides x_t, for the whole image, or None.
    """

    prior: Any
    tile: int = static_field()
    overlap: int = static_field()
    chunk: int = static_field()
    seen: Any = None

    image_shape = None

    @property
    def smallest(self) -> int:  # type: ignore[override]
        """Smallest height and width."""
        return self.tile if self.prior.image_shape is not None else 1

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes for the windows that are evaluated together."""
        window = (*self._window(image_shape), image_shape[2])
        return self.chunk * self.prior.memory(window)

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> PriorWrapper:
        """This prior with a class label, or an image besides x_t, cut into windows.

        Raises:
          ValueError: if the windows' prior takes no such condition.
        """
        inside = self.prior.condition(label=label, image=image)
        seen = self.seen if image is None else jnp.asarray(image, jnp.float32)
        return self._around(inside, seen=seen)

    def rematerialised(self) -> PriorWrapper:
        """This prior itself, which recomputes every chunk as it is."""
        return self

    def _window(self, shape: ImageShape) -> tuple[int, int]:
        """Height and width of the windows: those of the tile, or of a smaller image."""
        return min(self.tile, shape[0]), min(self.tile, shape[1])

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t, averaged where windows overlap."""
        height, width = self._window(x_t.shape)
        tops = window_starts(x_t.shape[0], height, self.overlap)
        lefts = window_starts(x_t.shape[1], width, self.overlap)
        places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1).reshape(-1, 2)
        rows = places[:, :1] + np.arange(height)
        columns = places[:, 1:] + np.arange(width)
        at = (rows[:, :, None], columns[:, None, :])

        # Rematerialised, so that the backward pass stores the activations of one chunk
        # only. `prevent_cse` is not needed in a loop, which XLA cannot merge with the
        # forward pass.
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
        weight = (weight / total[at])[..., None].astype(np.float32)
        return jnp.zeros(x_t.shape, jnp.float32).at[at].add(weight * eps)


def tiled(prior: Prior, tile: int, overlap: int, *, chunk: int = 4) -> TiledPrior:
    """A prior for images of any size, from one for images of a fixed or small size.

    The image is covered by windows of tile x tile pixels. Where they overlap, their eps
    are averaged with weights that fall linearly towards each window's border. Time is
    proportional to the number of windows, and memory to `chunk`, also in the backward
    pass. The prior cannot use context from outside of a window.

    Args:
      prior: the prior for the windows.
      tile: side of the windows in pixels; that of the prior's images if it has a fixed
        size. A smaller image is a single window.
      overlap: least number of pixels that neighbouring windows have in common,
        0 .. tile - 1. With a quarter of the tile the borders are not visible.
      chunk: number of windows evaluated together, at least 1.

    Raises:
      ValueError: if tile, overlap or chunk is out of range for the prior.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> small = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> prior = pj.tiled(small, tile=4, overlap=1)
      >>> prior(np.ones((10, 7, 1), np.float32), 500).shape
      (10, 7, 1)
    """
    check_prior(prior)
    check_count("tile", tile)
    check_count("overlap", overlap, 0)
    check_count("chunk", chunk)
    own = prior.image_shape
    if own is not None and (own[0] != tile or own[1] != tile):
        raise ValueError(f"tile must be {own[0]}, the size of this prior, got {tile}")
    multiple = prior.multiple
    if tile % multiple:
        raise ValueError(
            f"tile must be a multiple of {multiple} for this prior, got {tile}"
        )
    if overlap >= tile:
        raise ValueError(f"overlap must be from 0 to {tile - 1}, got {overlap}")
    return TiledPrior(prior, tile, overlap, chunk, prior.seen)


def window_starts(length: int, window: int, overlap: int) -> Int[np.ndarray, " n"]:
    """First pixels of the windows along an axis, evenly spaced."""
    count = -(-(length - overlap) // (window - overlap)) if length > window else 1
    return np.rint(np.linspace(0, length - window, count)).astype(int)


def ramp(window: int, overlap: int) -> Float[np.ndarray, " n"]:
    """Weights along an axis of a window: 1 inside, linear in the overlap."""
    from_border = np.minimum(np.arange(window), np.arange(window)[::-1])
    return np.minimum((from_border + 1) / (overlap + 1), 1.0)


def fit_prior(prior: Prior, image_shape: ImageShape, tile: int | None) -> Prior:
    """The prior for an image: tiled if a tile is given or the image is too large.

    Too large is an image larger than those of a prior of fixed size, or with a side
    beyond `WHOLE` times the size that the prior was trained at. Its windows are at most
    `LARGEST` times that size, and no larger than what covers it by as many.

    Args:
      prior: the diffusion model.
      image_shape: (height, width, channels) of the image.
      tile: side of the windows in pixels; 0 for the whole image at once, None for what
        suits the prior.

    Raises:
      ValueError: if the tile does not fit the prior.
    """
    own, side = prior.image_shape, max(image_shape[:2])
    if tile is None and own is not None and side > own[0]:
        tile = own[0]
    trained = prior.trained_size
    if tile is None and own is None and trained and side > WHOLE * trained:
        tile = _covering(image_shape, int(LARGEST * trained), prior.multiple)
    return tiled(prior, tile, tile // OVERLAP) if tile else prior


def _covering(image_shape: ImageShape, largest: int, multiple: int) -> int:
    """Side of the smallest windows that cover an image by as many as the largest do."""
    overlap, tile = largest // OVERLAP, 0
    for length in image_shape[:2]:
        count = len(window_starts(length, largest, overlap))
        tile = max(tile, -(-(length + (count - 1) * overlap) // count))
    return tile + -tile % multiple
