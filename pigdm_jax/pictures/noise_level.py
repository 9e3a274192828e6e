"""The noise level of a picture, estimated from the picture itself."""

import numpy as np
from jaxtyping import Bool, Float

from pigdm_jax.pictures.levels import ROUNDING_STD

# Side of the patches, by the number of channels that differ.
SIDES = {1: 8, 3: 3}
# Patches to use, and the fewest that are used if so many can be had.
MOST, FEWEST = 200_000, 2_000
# Patches whose mean is nearer to white or black than this, in standard deviations of
# the noise, are left out: clipping has removed part of their noise.
MARGIN = 1.5
ROUNDS = 5
# With independent noise the finest colour differences are at least this part of the
# finest luma details: 0.47 to 1.1 in photos with noise of 0.02, up to 0.28 without.
INDEPENDENT = 0.35


def estimate_noise(
    picture: Float[np.ndarray, "H W C"], measured: Bool[np.ndarray, "H W C"]
) -> float:
    """The standard deviation of independent Gaussian noise in a picture file.

    Patches of a photo are near a subspace, so the smallest eigenvalues of their
    covariance are sigma^2: the largest are removed until the mean of the rest is at
    most their median. Patches that are nearly white or black, whose noise was clipped,
    and those of one value, which have none, are not used. If the channels' finest
    details are alike, as in JPEG files, their noise is not independent: then the green
    channel alone is used, where texture counts as noise: 0.02
    on average in clean photos, 0.05 at most.

    Args:
      picture: the file's pixels, in [-1, 1].
      measured: which of them are part of the measurement.

    Returns:
      The standard deviation in units of the [-1, 1] image, at least that of rounding to
      8 bits.

    Raises:
      ValueError: if too few patches are left.

    Reference: Chen, Zhu, Heng, "An efficient statistical method for image noise level
    estimation", ICCV 2015, algorithm 1.
    """
    if picture.shape[-1] == 3 and _chroma_share(picture, measured) < INDEPENDENT:
        # Grey, clean, or compressed with fewer pixels of colour: green tells the most.
        picture, measured = picture[..., 1:2], measured[..., 1:2]
    patches = _patches(picture, measured)
    count, dimensions = len(patches), patches.shape[1] * patches.shape[2]
    if count <= 2 * dimensions:
        raise ValueError(
            "too few pixels of the picture are neither hidden nor of one value, so its "
            "noise cannot be estimated; give the level, for example --noise 0.1"
        )
    room = (1 - np.abs(patches.mean(axis=-1))).min(axis=-1)
    patches = patches.reshape(count, dimensions)
    at_least = np.partition(room, -min(count, FEWEST))[-min(count, FEWEST)]
    sigma = 0.0
    for _ in range(ROUNDS):
        sigma = _smallest_std(patches[room >= min(MARGIN * sigma, at_least)])
    return max(sigma, ROUNDING_STD)


def _chroma_share(
    picture: Float[np.ndarray, "H W C"], measured: Bool[np.ndarray, "H W C"]
) -> float:
    """Size of diagonal details in red or blue minus luma, relative to those in luma."""
    luma = picture.mean(axis=-1)
    whole = np.logical_and.reduce(measured, axis=-1, keepdims=True)[..., 0]
    seen = whole[1:, 1:] & whole[1:, :-1] & whole[:-1, 1:] & whole[:-1, :-1]

    def detail(x: Float[np.ndarray, "H W"]) -> float:
        diagonal = x[1:, 1:] - x[1:, :-1] - x[:-1, 1:] + x[:-1, :-1]
        return float(np.abs(diagonal[seen]).sum())

    chroma = max(detail(picture[..., i] - luma) for i in (0, 2))
    return chroma / max(detail(luma), 1e-9)


def _patches(
    picture: Float[np.ndarray, "H W C"], measured: Bool[np.ndarray, "H W C"]
) -> Float[np.ndarray, "N C D"]:
    """Overlapping patches that are measured and not of one value, evenly spread."""
    height, width, channels = picture.shape
    side = SIDES.get(channels, 3)
    if min(height, width) < side:
        return np.zeros((0, channels, side * side))
    step = int(np.ceil(np.sqrt(height * width / MOST)))

    def windows(array: np.ndarray) -> np.ndarray:
        every = np.lib.stride_tricks.sliding_window_view(array, (side, side), (0, 1))
        return every[::step, ::step].reshape(-1, channels, side * side)

    patches = windows(picture)
    flat = (np.ptp(patches, axis=-1) == 0).all(axis=-1)
    return patches[windows(measured).all(axis=(1, 2)) & ~flat].astype(np.float64)


def _smallest_std(patches: Float[np.ndarray, "N D"]) -> float:
    """The standard deviation along the directions in which patches vary by noise."""
    variances = np.linalg.eigvalsh(np.cov(patches.T))
    while variances.mean() > np.median(variances):
        variances = variances[:-1]
    return float(np.sqrt(max(variances.mean(), 0)))
