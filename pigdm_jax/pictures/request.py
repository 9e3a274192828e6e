"""What a user asks for: everything that decides the pixels of a restoration."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from pigdm_jax.core.types import PRNGKey
from pigdm_jax.pictures.photos import (
    Case,
    Damage,
    Picture,
    damage_done,
    damage_to_do,
    measured,
    simulated,
)
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem
from pigdm_jax.samplers import Sampler, default


@dataclasses.dataclass(frozen=True)
class Request:
    """What to do to one picture or many.

    Attributes:
      task: what damaged it.
      simulate: whether the picture is clean: damage it first, restore that, compare.
      sampler: how to sample; None is `pigdm_jax.samplers.default`.
      steps: of the default sampler; None is its own.
      prior: a shipped prior's name, or a folder.
      label: class index, for a prior with classes.
      tile: restore in overlapping windows of this many pixels; None for not.
      seed: of every picture's key, with its file's content.
    """

    task: Task
    simulate: bool = False
    sampler: Sampler | None = None
    steps: int | None = None
    prior: str = "photos-64"
    label: int | None = None
    tile: int | None = None
    seed: int = 0

    @property
    def reads_header(self) -> bool:
        """Whether JPEG quality comes from each file's own header."""
        return self.task.reads_header and not self.simulate

    @property
    def own_operators(self) -> bool:
        """Whether the operator depends on the file, and not on its size alone."""
        return self.task.names_stem or self.reads_header

    def settings(self) -> dict[str, str | int | bool | None]:
        """All of it as plain values, for a manifest, as it was asked for."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        sampler = "default" if self.sampler is None else str(self.sampler)
        return fields | {"task": str(self.task), "sampler": sampler}

    def sampler_for(self, prior: Prior, problem: Problem) -> Sampler:
        """The sampler that was asked for, or the default one."""
        if self.sampler is not None:
            return self.sampler
        return default(prior, problem, self.steps)

    def damage(self, size: tuple[int, int], file: Path) -> Damage:
        """What is known of a picture's case before its pixels are.

        Raises:
          ValueError: if the task does not suit the size.
        """
        task = self.task.of(file.stem)
        if self.simulate:
            return damage_to_do(size, task)
        damage = damage_done(size, task, file=file)
        if damage.noise_std is None and damage.operator.keeps_everything:
            raise ValueError(
                f"{str(task)!r} needs the noise level of the picture, for example "
                "--noise 0.1"
            )
        return damage

    def case(self, picture: Picture, damage: Damage, key: PRNGKey, file: Path) -> Case:
        """The case of a picture."""
        if self.simulate:
            return simulated(picture, damage, key)
        return measured(picture, damage, file if self.reads_header else None)

    def keys(self, digest: str) -> tuple[PRNGKey, PRNGKey]:
        """The keys of a picture: of its simulated noise, and of the sampler."""
        own = np.uint32(int(digest[:8], 16))
        both = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), own))
        return both[0], both[1]
