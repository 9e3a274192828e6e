"""Batches of crops; each crop depends on the seed and its number alone."""

from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Float

from pigdm_jax.pictures.levels import from_levels
from pigdm_jax.training.config import Phase
from pigdm_jax.training.photos import Photo

# Probabilities of a photo at full, half and quarter size.
SCALE_PROBABILITIES = (0.4, 0.4, 0.2)
# Half of the crops are mirrored; see `Prior.symmetries`.
CROP_SYMMETRIES = 2
# The loader keeps this many batches ready.
READY = 4


def crop_of(photo: Photo, side: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A crop of a photo with a random scale, position and reflection.

    Args:
      photo: the photo.
      side: of the crop, in pixels.
      rng: the random numbers.

    Returns:
      "image": (side, side, 3) in [-1, 1]; "label": the photo's class.
    """
    weights = np.array(SCALE_PROBABILITIES[: len(photo.scales)])
    fits = [min(pixels.shape[:2]) >= side for pixels in photo.scales]
    weights = np.where(fits, weights, 0)
    pixels = photo.scales[rng.choice(len(weights), p=weights / weights.sum())]
    row, column = (int(rng.integers(n - side + 1)) for n in pixels.shape[:2])
    crop = pixels[row : row + side, column : column + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    image: Float[np.ndarray, "side side 3"] = from_levels(crop)
    return {"image": image, "label": np.asarray(photo.label, np.int32)}


def crop_batches(
    photos: list[Photo],
    phase: Phase,
    step: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's part of the batches of a phase, from a step on.

    Each photo is used once before any is used again. The step determines the batch, so
    a run continues without a saved state of the loader.

    Args:
      photos: the photos to crop.
      phase: the phase, with the sizes of crops and batches.
      step: the first step, phase.first .. phase.last - 1.
      seed: determines the order of the photos and the crops.
      process: index of this process, which gets every `processes`-th crop.
      processes: number of processes.

    Yields:
      "image" (batch, crop, crop, 3), "label" and "index" (batch,), the crop's number.
    """
    records = (
        grain.MapDataset.source(photos)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(lambda photo, rng: crop_of(photo, phase.crop, rng))
        .map_with_index(lambda i, record: record | {"index": np.int32(i)})
    )
    first = phase.offset + (step - phase.first) * phase.batch
    end = phase.offset + (phase.last - phase.first) * phase.batch
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=READY * phase.batch)
    return iter(
        records[first + process : end : processes]
        .to_iter_dataset(options)
        .batch(phase.batch // processes, drop_remainder=True)
    )
