"""A request: everything that decides the pixels of a restoration."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from pigdm_jax.core.checks import check_number
from pigdm_jax.core.compilation import typed_jit
from pigdm_jax.core.types import AnyArray, PRNGKey
from pigdm_jax.devices.memory import check_memory
from pigdm_jax.pictures.cases import Case, Degradation
from pigdm_jax.pictures.decoding import Decoded, decode
from pigdm_jax.pictures.kept import Shown, show
from pigdm_jax.pictures.opening import digest
from pigdm_jax.pictures.prepared import Prepared
from pigdm_jax.pictures.problems import (
    degradation_of_file,
    degradation_to_simulate,
    measured,
    simulated,
)
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.classifier_free import LARGEST_SCALE, classifier_free
from pigdm_jax.priors.tiling import TiledPrior, fit_prior
from pigdm_jax.problem import Problem
from pigdm_jax.samplers import Sampler, default
from pigdm_jax.weights.downloads import Progress
from pigdm_jax.weights.store import load_prior


@dataclasses.dataclass(frozen=True)
class Request:
    """What to do to one picture or many.

    Attributes:
      task: what degraded it.
      simulate: the picture is clean: degrade it first, restore the result, compare.
      sampler: how to sample; None is `pigdm_jax.samplers.default`.
      steps: of the default sampler; None is its own.
      aim: of the default sampler; as `pigdm_jax.samplers.default` takes it.
      prior: its name or folder, as `load_prior` takes it.
      label: class index, for a prior with classes.
      cfg: scale of `classifier_free`, for a prior with a null label; None for none.
      tile: restore in overlapping windows of this many pixels, as
        `pigdm_jax.priors.tiling.fit_prior` takes it.
      seed: with the digest of a picture's file it gives that picture's key.
    """

    task: Task
    simulate: bool = False
    sampler: Sampler | None = None
    steps: int | None = None
    aim: str | None = None
    prior: str = "photos-64"
    label: int | None = None
    cfg: float | None = None
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

    @property
    def own_noise(self) -> bool:
        """Whether each picture's noise level is estimated."""
        return self.task.estimates_noise

    def settings(self) -> dict[str, str | int | bool | None]:
        """All fields as plain values, as they were given; for a manifest."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        sampler = "default" if self.sampler is None else str(self.sampler)
        return fields | {"task": str(self.task), "sampler": sampler}

    def __post_init__(self) -> None:
        """Refuse a scale of guidance that is out of range or has no effect.

        Raises:
          ValueError: if it is one.
        """
        if self.cfg is None:
            return
        check_number("--cfg", self.cfg, 0, LARGEST_SCALE)
        if self.label is None:
            raise ValueError(
                "--cfg follows a class label more closely; give one by --label"
            )

    def load(self, progress: Progress | None = None) -> Prior:
        """The prior, with its label and its classifier-free guidance.

        Args:
          progress: as `load_prior` takes it.

        Raises:
          ValueError: if it cannot be loaded, or does not take the label or guidance.
        """
        prior = load_prior(self.prior, label=self.label, progress=progress)
        if self.cfg is None:
            return prior
        if prior.null_label is None:
            raise ValueError(
                "--cfg needs a prior that was trained both with and without class "
                f"labels; {self.prior} was trained with labels alone"
            )
        return classifier_free(prior, self.cfg)

    def sampler_for(self, prior: Prior, problem: Problem) -> Sampler:
        """The requested sampler, or the default one."""
        if self.sampler is not None:
            return self.sampler
        return default(prior, problem, self.steps, self.aim)

    @property
    def splits_grey(self) -> bool:
        """Whether grey pictures have another noise than pictures in colour."""
        noisy = self.task.noise is not None or self.task.estimates_noise
        return noisy and not self.simulate

    def degradation(
        self, size: tuple[int, int], file: Path, *, grey: bool = False
    ) -> Degradation:
        """How a picture was degraded, or will be: known before its pixels are.

        Args:
          size: height and width of the picture.
          file: the picture's file.
          grey: whether it has no colour.

        Raises:
          ValueError: if the task does not suit the size.
        """
        task = self.task.of(file.stem)
        if self.simulate:
            return degradation_to_simulate(size, task)
        degradation = degradation_of_file(size, task, file=file, grey=grey)
        if degradation.noise_std is None and degradation.operator.orthogonal:
            raise ValueError(
                f"{str(task)!r} needs the noise level of the picture, for example "
                "--noise 0.1, or --noise auto to estimate it"
            )
        return degradation

    def converts(self, degradation: Degradation) -> bool:
        """Whether colours are converted to sRGB: not if a quantiser saw others."""
        return self.simulate or degradation.operator.linear

    def brings_back(self, profiled: bool, degradation: Degradation) -> bool:
        """Whether restorations are converted to their pictures' colour profile.

        Args:
          profiled: as `pigdm_jax.pictures.decoding.Header`.
          degradation: as `degradation` gives it.
        """
        return profiled and self.converts(degradation)

    def show(self, decoded: Decoded, degradation: Degradation) -> Shown:
        """A picture in the colours in which it is restored.

        Args:
          decoded: its file.
          degradation: as `degradation` gives it.
        """
        return show(
            decoded, convert=self.converts(degradation), colour=self.task.has_colour
        )

    def case(
        self, shown: Shown, degradation: Degradation, key: PRNGKey, file: Path
    ) -> Case:
        """The case of a picture.

        Args:
          shown: its pixels, and what is kept of its file.
          degradation: as `degradation` gives it.
          key: of simulated noise.
          file: the picture's file.
        """
        picture, kept, remarks = shown
        if self.simulate:
            case = simulated(picture, degradation, key)
            height, width, _ = degradation.operator.image_shape
            if kept.alpha is not None:
                kept = kept._replace(alpha=kept.alpha[:height, :width])
        else:
            source = file if self.reads_header else None
            case = measured(picture, degradation, source, key)
        return case._replace(kept=kept, remarks=(*remarks, *case.remarks))

    def read(self, image: Path) -> tuple[Case, PRNGKey]:
        """A picture's case, and the sampler's key.

        Raises:
          ValueError: if the file is no picture, or the task does not suit it.
        """
        shown, degradation, noise_key, key = self._open(image)
        return self.case(shown, degradation, noise_key, image), key

    def _open(self, image: Path) -> tuple[Shown, Degradation, PRNGKey, PRNGKey]:
        """A picture's pixels, degradation, noise key and sampler's key."""
        decoded = decode(image)
        noise_key, key = self.keys(digest(image))
        degradation = self.degradation(decoded.size, image, grey=decoded.grey)
        return self.show(decoded, degradation), degradation, noise_key, key

    def prepare(self, image: Path, progress: Progress | None = None) -> Prepared:
        """Read a picture and the prior that restores it; check the memory they need.

        Args:
          image: the picture's file.
          progress: of a prior that is downloaded; as `load_prior` takes it.

        Raises:
          ValueError: if the file is no picture, the task or the prior does not suit
            it, or there is not enough memory.
        """
        shown, degradation, noise_key, key = self._open(image)
        image_shape = degradation.operator.restored_shape
        loaded = self.load(progress)
        prior = fit_prior(loaded, image_shape, self.tile)
        check_memory(prior, image_shape)
        case = self.case(shown, degradation, noise_key, image)
        remarks = (*case.remarks, *self.tiling_remarks(prior))
        if self.tile and self.tile >= max(image_shape[:2]):
            remarks += (f"one window of --tile {self.tile} holds the whole picture",)
        case = case._replace(remarks=remarks)
        return Prepared(case, prior, key)

    def tiling_remarks(self, prior: Prior) -> tuple[str, ...]:
        """A remark if pictures are restored in windows that were not asked for."""
        if self.tile is not None or not isinstance(prior, TiledPrior):
            return ()
        return (
            f"restored in windows of {prior.tile} pixels, since the prior was trained "
            "on small pictures; --tile sets another size, 0 for the whole picture",
        )

    def keys(self, digest: str) -> tuple[PRNGKey, PRNGKey]:
        """The keys of a picture: of its simulated noise, and of the sampler."""
        return _two_keys(np.uint32(self.seed % 2**32), np.uint32(int(digest[:8], 16)))


@typed_jit
def _two_keys(seed: AnyArray, number: AnyArray) -> tuple[PRNGKey, PRNGKey]:
    both = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
    return both[0], both[1]
