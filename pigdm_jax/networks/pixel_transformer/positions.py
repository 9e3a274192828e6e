"""Where a patch lies in its image: fixed sines and cosines, and rotary embedding."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pigdm_jax.core.types import AnyArray

PERIOD = 10000.0
# Cosines and sines, (n, c / 2), for n tokens and heads of c channels.
Rotation = tuple[Float[AnyArray, "n half"], Float[AnyArray, "n half"]]


def sines_and_cosines(side: int, width: int) -> Float[np.ndarray, "1 n width"]:
    """Fixed position embeddings of side x side patches, as in vision transformers.

    The first half of the channels depends on the column and the second on the row; each
    has sines, then cosines, of width / 4 frequencies.

    Args:
      side: number of patches along an axis; n = side^2, row by row.
      width: number of channels, a multiple of 4.
    """
    frequencies = PERIOD ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    line = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    columns = np.broadcast_to(line[None], (side, side, width // 2))
    rows = np.broadcast_to(line[:, None], (side, side, width // 2))
    table = np.concatenate([columns, rows], axis=-1)
    return table.reshape(1, side**2, width).astype(np.float32)


def rotation(side: int, width: int, extra: int = 0) -> Rotation:
    """Cosines and sines of the angles by which `rotate` turns pairs of channels.

    The first half of the pairs turns with the row and the second with the column.

    Args:
      side: number of patches along an axis, row by row.
      width: channels of an attention head, a multiple of 4.
      extra: number of tokens before those of the patches; they have no place in the
        image and are not turned.
    """
    frequencies = PERIOD ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    shape = (side, side, width // 4)
    rows, columns = angles[:, None], angles[None]
    both = [np.broadcast_to(part, shape) for part in (rows, columns)]
    table = np.concatenate(both, axis=-1).reshape(side**2, -1)
    table = np.pad(table, ((extra, 0), (0, 0)))
    return np.cos(table, dtype=np.float32), np.sin(table, dtype=np.float32)


def rotate(
    x: Float[Array, "b n heads c"], turn: Rotation
) -> Float[Array, "b n heads c"]:
    """Turn the pairs of channels (0, 1), (2, 3), ... of each token.

    The product of a turned query and a turned key depends only on the difference of
    their positions.

    Reference: Su et al. 2021, "RoFormer: enhanced transformer with rotary position
    embedding".
    """
    cos, sin = (table[:, None] for table in turn)
    even, odd = x[..., ::2], x[..., 1::2]
    pairs = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1)
    return pairs.reshape(x.shape)
