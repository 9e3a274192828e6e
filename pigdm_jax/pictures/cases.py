"""How a picture was degraded, and its problem."""

from typing import NamedTuple

from pigdm_jax.operators import Operator
from pigdm_jax.pictures.grey_noise import GAIN
from pigdm_jax.pictures.kept import NOTHING_KEPT, Kept, Picture
from pigdm_jax.problem import Problem


class Degradation(NamedTuple):
    """How a picture was degraded: all of its problem but the measurement.

    Attributes:
      operator: what happened to the image.
      noise_std: standard deviation of the noise in the measurement, in units of the
        [-1, 1] image; None if the measurement is exact.
      remarks: what was assumed, for the user to read.
      estimates_noise: whether each picture's own level is to be estimated; `noise_std`
        is then its lower limit.
      grey: whether the picture's channels have the same noise, which is then made
        independent by `grey_noise.spread`.
    """

    operator: Operator
    noise_std: float | None
    remarks: tuple[str, ...] = ()
    estimates_noise: bool = False
    grey: bool = False

    @property
    def level(self) -> float | None:
        """The noise of the problem."""
        if self.noise_std is None or not self.grey:
            return self.noise_std
        return GAIN * self.noise_std


class Case(NamedTuple):
    """One picture to restore.

    Attributes:
      problem: its operator, measurement and noise.
      original: the clean picture, where it is known.
      remarks: what was assumed, for the user to read.
      kept: what the restoration's file has of the picture's.
    """

    problem: Problem
    original: Picture | None = None
    remarks: tuple[str, ...] = ()
    kept: Kept = NOTHING_KEPT
