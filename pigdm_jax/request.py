"""What a user asks for: the flags that decide every pixel of a restoration."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from pigdm_jax.guidance import GUIDANCES, WEIGHTS
from pigdm_jax.methods import METHODS, PIGDM, SAMPLERS
from pigdm_jax.photos import (
    Damage,
    Picture,
    Problem,
    damage_done,
    damage_to_do,
    measured,
    reads_header,
    simulated,
)
from pigdm_jax.types import PRNGKey

STEM = "{stem}"
# As good at 10 evaluations as the paper's at 100 (README, "How well, how fast").
FEW_STEPS = "fitted"


@dataclasses.dataclass(frozen=True)
class Request:
    """Flags of `pigdm restore`, for one picture or many.

    Attributes:
      task: what damaged it, in order: "super_resolution:4,box | jpeg:10". `pigdm info`
        lists what there is. "{stem}" stands for the picture's own name:
        "inpaint:masks/{stem}.png".
      simulate: the picture is clean: damage it first, restore that and compare.
      noise: standard deviation of the noise, pixels being 0 to 1.
      prior: a shipped prior, or a folder that `pigdm convert` or `pigdm train` made.
      label: class index, for a prior with classes.
      steps: evaluations of the network; more take longer.
      method: pigdm, or another to compare it with.
      sampler: of pigdm: fitted (if not given) for few evaluations; the paper's ddim;
        second-order multistep; or conjugate, which integrates exactly what is linear.
      spacing: of the noise levels; quadratic is denser at low noise. The paper's
        algorithm is --sampler ddim --spacing uniform --steps 100.
      eta: 0 to 1, how much of the noise is fresh in every step; the method's own if
        not given.
      weight: of the guidance; adaptive if not given, posterior for calibrated and
        moment.
      guidance: the paper's pseudoinverse; reconstruction, by the transpose;
        calibrated, as strong as the network's own covariance tells; or moment, with all
        of that covariance at several times the cost. If not given, calibrated for
        linear tasks with the fitted sampler, else pseudoinverse.
      start: begin at this noise level (1 to 1000) from the pseudoinverse, for a
        restoration that stays closer to it.
      tile: restore in overlapping windows of this many pixels, which bounds memory for
        large pictures; priors of a fixed size do so by themselves.
      seed: another seed, another sample. Every picture has a key of its own, from the
        seed and its file's content.
    """

    task: str
    simulate: bool = False
    noise: float | None = None
    prior: str = "photos-64"
    label: int | None = None
    steps: int = 10
    method: Literal["pigdm", *METHODS] = "pigdm"
    sampler: Literal[*SAMPLERS] | None = None
    spacing: Literal["uniform", "quadratic"] = "quadratic"
    eta: float | None = None
    weight: Literal[*WEIGHTS] | None = None
    guidance: Literal[*GUIDANCES] | None = None
    start: int | None = None
    tile: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse what no picture could make right.

        Raises:
          ValueError: if the noise is no standard deviation for pixels from 0 to 1.
        """
        if self.noise is not None and not 0 <= self.noise <= 1:
            raise ValueError(
                "--noise is a standard deviation for pixels from 0 to 1 (25 of 255 is "
                f"0.098), got {self.noise}"
            )

    @property
    def reads_header(self) -> bool:
        """Whether JPEG quality comes from each file's own header."""
        return reads_header(self.task) and not self.simulate

    @property
    def own_operators(self) -> bool:
        """Whether the operator depends on the file, and not on its size alone."""
        return STEM in self.task or self.reads_header

    def damage(self, size: tuple[int, int], file: Path) -> Damage:
        """What is known of a picture's problem before its pixels are.

        Raises:
          ValueError: if the task does not suit the size.
        """
        task = self.task.replace(STEM, file.stem)
        if self.simulate:
            return damage_to_do(size, task, self.noise)
        damage = damage_done(size, task, self.noise, file=file)
        if damage.noise_std == 0 and _keeps_everything(damage):
            raise ValueError(
                f"{self.task!r} needs the noise level of the picture, for example "
                "--noise 0.1"
            )
        return damage

    def problem(
        self, picture: Picture, damage: Damage, key: PRNGKey, file: Path
    ) -> Problem:
        """The problem of a picture."""
        if self.simulate:
            return simulated(picture, damage, key)
        return measured(picture, damage, file if self.reads_header else None)

    def keys(self, digest: str) -> tuple[PRNGKey, PRNGKey]:
        """The keys of a picture: of its simulated noise, and of the sampler."""
        own = np.uint32(int(digest[:8], 16))
        both = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), own))
        return both[0], both[1]

    @property
    def options(self) -> dict[str, Any]:
        """The words and numbers that `pigdm_jax.restore` takes as they are."""
        names = ("steps", "method", "spacing", "eta", "weight", "guidance", "start")
        sampler = self.sampler or (FEW_STEPS if self.method == PIGDM else "ddim")
        return {name: getattr(self, name) for name in names} | {"sampler": sampler}


def _keeps_everything(damage: Damage) -> bool:
    """Whether the operator is the identity, up to the order of pixels."""
    operator = damage.operator
    return operator.tight == 1.0 and operator.measurement_shape == operator.image_shape
