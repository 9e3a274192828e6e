"""A task: what happened to a picture, parsed once from the user's text.

Parsing imports only the operators that the text names, and checking names none.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pigdm_jax.core.lazy import LazyMapping
from pigdm_jax.operators.named import Named, Parameter, Stage, parse_stages, stage_names
from pigdm_jax.operators.registry import REGISTRY

if TYPE_CHECKING:
    import pigdm_jax.operators.base

# Stands for the picture's own name in the name of a file.
STEM = "{stem}"


def _no_change(image_shape: tuple[int, ...], **values: Any) -> Any:
    """The operator of a picture that is only noisy."""
    from pigdm_jax.operators.cropping import identity

    del values
    return identity(image_shape)


DENOISE = Named(
    "denoise",
    _no_change,
    "Gaussian noise with a standard deviation, for pixels from 0 to 1.",
    (Parameter("std", float, None, low=0, high=1),),
)
STAGES: LazyMapping[Named] = LazyMapping(
    {**REGISTRY.targets, DENOISE.name: f"{__name__}:DENOISE"}
)
"""The possible stages of a task, by name."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What happened to a picture, in order; `str` parses back to it.

    Attributes:
      stages: the operators, without noise.
      noise: standard deviation of the noise that was added, in units of a [0, 1] image;
        None if the task gives none.
      denoises: whether the task contains a denoise stage, with or without a level;
        without, the level is estimated from the picture.
      later: number of stages behind the noise.
    """

    stages: tuple[Stage, ...]
    noise: float | None = None
    denoises: bool = False
    later: int = 0

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Parse a text such as "super_resolution:4,box | jpeg:10".

        Args:
          text: as for `pigdm_jax.operators.parse`. In addition "denoise:STD" stands
            for noise, and "{stem}" in the name of a file for the picture's own name.

        Raises:
          ValueError: if a name is unknown, a parameter is missing, unknown or out of
            range, or there are two denoise stages.

        Examples:
          >>> task = Task.parse("super_resolution:4,box | denoise:0.1")
          >>> task.enlargement, task.noise
          (4, 0.1)
        """
        stages = parse_stages(text, STAGES)
        noisy = [i for i, stage in enumerate(stages) if stage.named.name == "denoise"]
        if not noisy:
            return cls(stages)
        if len(noisy) > 1:
            raise ValueError(
                f"noise is added more than once in {text!r}: keep one denoise, the "
                "strongest"
            )
        (at,) = noisy
        level, later = stages[at].given.get("std"), len(stages) - at - 1
        return cls(stages[:at] + stages[at + 1 :], level, True, later)

    @staticmethod
    def check_names(text: str) -> None:
        """Refuse unknown operators, without importing any of them.

        Raises:
          ValueError: with the list of operators.
        """
        stage_names(text, STAGES)

    def with_noise(self, noise: float | Literal["auto"] | None) -> "Task":
        """The task with a noise level, in units of a [0, 1] image, unless it is None.

        Args:
          noise: the level; "auto" for one estimated from the picture.

        Raises:
          ValueError: if it is out of range, or the task has a level already.
        """
        if noise is None:
            return self
        if self.noise is not None:
            raise ValueError(
                f"the noise level is given twice: --noise {noise} and "
                f"denoise:{self.noise}; leave out one"
            )
        if noise == "auto":
            return dataclasses.replace(self, denoises=True)
        if not 0 <= noise <= 1:
            raise ValueError(
                "--noise is a standard deviation for pixels from 0 to 1 (25 of 255 is "
                f"0.098), got {noise}"
            )
        return dataclasses.replace(self, noise=float(noise))

    @property
    def enlargement(self) -> int:
        """Factor between the sides of the image and those of the picture."""
        factor = 1
        for stage in self.stages:
            factor *= stage.enlargement
        return factor

    @property
    def estimates_noise(self) -> bool:
        """Whether there is noise whose level is not given."""
        return self.denoises and self.noise is None

    @property
    def noise_std(self) -> float | None:
        """The noise in units of the [-1, 1] image; None for none.

        The one place where the user's [0, 1] units are converted.
        """
        return 2 * self.noise if self.noise else None

    @property
    def reads_header(self) -> bool:
        """Whether the JPEG quality is to be read from the header of the file."""
        last = self.stages[-1] if self.stages else None
        if last is None or not last.named.header_parameter:
            return False
        return not last.given.get(last.named.header_parameter)

    @property
    def has_colour(self) -> bool:
        """Whether grey pictures are given colours."""
        return any(stage.named.name == "grayscale" for stage in self.stages)

    @property
    def files(self) -> list[str]:
        """The files that it names: masks, kernels and JPEG files."""
        return [name for stage in self.stages for name in stage.files()]

    @property
    def names_stem(self) -> bool:
        """Whether the name of a mask or kernel file depends on the picture's."""
        return any(STEM in name for name in self.files)

    def of(self, stem: str) -> "Task":
        """The task of one picture: `stem`, its name without suffix, replaces {stem}."""
        return self._with_files(lambda name: name.replace(STEM, stem))

    def within(self, folder: Path) -> "Task":
        """The task with the files that it names in a folder, unless they are absolute.

        Examples:
          >>> str(Task.parse("blur:kernel.png").within(Path("/tables")))
          'blur:/tables/kernel.png'
        """
        return self._with_files(lambda name: str(folder / name))

    def _with_files(self, change: Callable[[str], str]) -> "Task":
        """The task with other names of files."""
        stages = tuple(
            dataclasses.replace(
                stage,
                values=tuple(
                    (key, _changed(stage, key, value, change))
                    for key, value in stage.values
                ),
            )
            for stage in self.stages
        )
        return dataclasses.replace(self, stages=stages)

    def with_open_border(self) -> "Task":
        """The task for a photo: what lies beyond its border is not known.

        A blur that names no boundary, and is the first stage, gets "unknown".
        """
        if not self.stages:
            return self
        first, *rest = self.stages
        names = [parameter.name for parameter in first.named.parameters]
        if "boundary" not in names or "boundary" in first.given:
            return self
        values = (*first.values, ("boundary", "unknown"))
        first = dataclasses.replace(first, values=values)
        return dataclasses.replace(self, stages=(first, *rest))

    def with_header(self, file: str) -> "Task":
        """The task whose JPEG quality and subsampling are those in a file's header."""
        parameter = self.stages[-1].named.header_parameter
        last = dataclasses.replace(self.stages[-1], values=((parameter, file),))
        return dataclasses.replace(self, stages=(*self.stages[:-1], last))

    def operator(
        self, image_shape: tuple[int, ...], read: Any = None
    ) -> "pigdm_jax.operators.base.Operator":
        """The operator for images of a shape, without noise that comes last.

        Args:
          image_shape: (height, width, channels) of the image.
          read: as `pigdm_jax.operators.parse` takes it.

        Raises:
          ValueError: as `pigdm_jax.operators.parse`.
        """
        from pigdm_jax.operators.parsing import build

        if not self.stages:
            return _no_change(image_shape)
        if not self.later or not self.noise:
            return build(self.stages, image_shape, read)
        from pigdm_jax.operators.composition import chain, shown_shape
        from pigdm_jax.operators.noising import noise

        split = len(self.stages) - self.later
        parts = [build(self.stages[:split], image_shape, read)] if split else []
        shape = shown_shape(parts[0]) if parts else image_shape
        behind = build(self.stages[split:], shape, read)
        return chain(*parts, noise(shape, self.noise_std), behind)

    def __str__(self) -> str:
        """The text that parses to it."""
        parts = [str(stage) for stage in self.stages]
        if self.denoises or self.noise is not None:
            level = "" if self.noise is None else f":{self.noise}"
            parts.insert(len(parts) - self.later, f"denoise{level}")
        return " | ".join(parts)


def _changed(stage: Stage, key: str, value: Any, change: Callable[[str], str]) -> Any:
    """A parameter's value; another if it is the name of a file."""
    parameters = {parameter.name: parameter for parameter in stage.named.parameters}
    return change(value) if parameters[key].names_file(value) else value
