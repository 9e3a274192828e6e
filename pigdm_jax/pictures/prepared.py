"""A picture with its prior, ready to be restored."""

from typing import NamedTuple

import jax
import numpy as np

from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, PRNGKey
from pigdm_jax.pictures.cases import Case
from pigdm_jax.pictures.results import Restored, restore_picture
from pigdm_jax.priors.base import Prior
from pigdm_jax.samplers import Denoiser, Sampler, Spaced
from pigdm_jax.samplers.records import Info, OnStep

MOST_RUN = 50  # evaluations of a run whose programs are compiled ahead


class Prepared(NamedTuple):
    """A picture ready to be restored.

    Attributes:
      case: its problem.
      prior: the diffusion model, tiled if need be.
      key: of the picture.
    """

    case: Case
    prior: Prior
    key: PRNGKey

    def sample_keys(self, count: int) -> list[PRNGKey]:
        """The keys of the first `count` samples."""
        return [_sample_key(self.key, np.uint32(i)) for i in range(count)]

    def draw(
        self, sampler: Sampler, count: int, on_step: OnStep | None = None
    ) -> list[Restored]:
        """Draw samples, one after the other.

        Args:
          sampler: as `Request.sampler_for` gives it.
          count: number of samples.
          on_step: as `pigdm_jax.restore` takes it, for every sample.

        Raises:
          ValueError: as `check_samples`, or as `restore_picture`.
        """
        check_samples(sampler, count)
        (problem, _, _, kept), prior = self.case, self.prior
        return [
            restore_picture(prior, problem, key, sampler, on_step, kept)
            for key in self.sample_keys(count)
        ]

    def precompile(self, sampler: Sampler) -> int:
        """Compile, by running them, the programs that `draw` would with an `on_step`.

        Of a sampler with one program for all of its steps, and more than `MOST_RUN` of
        them, only the first step is run: that program takes nearly all of the time.

        Args:
          sampler: as `Request.sampler_for` gives it.

        Returns:
          The number of evaluations that were run.

        Raises:
          ValueError: as `restore_picture`.
        """
        enough = isinstance(sampler, Spaced) and sampler.evaluations > MOST_RUN

        def on_step(step: int, info: Info) -> None:
            if enough:
                raise _EnoughError

        try:
            self.draw(sampler, 1, on_step)
        except _EnoughError:
            return 1
        return sampler.evaluations


class _EnoughError(Exception):
    """Ends a run whose programs have been compiled."""


def check_samples(sampler: Sampler, count: int) -> None:
    """Refuse several samples of a sampler that has one result.

    Args:
      sampler: of the request.
      count: number of samples.

    Raises:
      ValueError: if there are several.
    """
    if count > 1 and isinstance(sampler, Denoiser):
        raise ValueError(
            "the denoiser has one result, the mean of all images, so --samples has no "
            "effect; add --aim detail to draw samples"
        )


@typed_jit
def _sample_key(key: PRNGKey, index: AnyArray) -> PRNGKey:
    return jax.random.fold_in(key, index)
