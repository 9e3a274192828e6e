"""What a visitor chose: as a request, and as the command and code that repeat it."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from pigdm_jax.app.damages import MASK, Damage, task_for
from pigdm_jax.core.checks import check_count
from pigdm_jax.pictures.request import Request
from pigdm_jax.samplers import parse
from pigdm_jax.samplers.registry import SAMPLERS
from pigdm_jax.weights.cache import is_here
from pigdm_jax.weights.catalogue import catalogue
from pigdm_jax.weights.names import shipped_priors

MOST_SAMPLES, MOST_STEPS = 8, 1000
AUTOMATIC = "automatic"
CODE = """\
from pathlib import Path
from pigdm_jax.metrics import default_metrics
from pigdm_jax.pictures.report import report_on
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.task import Task
from pigdm_jax.pictures.writing import write_restored
from pigdm_jax.samplers import parse

request = Request({arguments})
case, prior, _ = prepared = request.prepare(Path({photo!r}))
sampler = request.sampler_for(prior, case.problem)
restored = prepared.draw(sampler, {samples}, on_step=lambda step, info: None)
report = report_on(case, restored, default_metrics())
for output in report.outputs:
    print(output.caption, report.scores.get(output.caption, ""))
write_restored(Path("restored.png"), report.outputs[0].picture, case.kept)
"""


@dataclasses.dataclass(frozen=True)
class Choices:
    """Everything that a visitor chose, but for the photo.

    Attributes:
      damages: what happened to the photo, in order.
      simulate: whether it is clean and is damaged first.
      prior: its name, or a folder that the page was started with.
      label: class index, for a prior with classes.
      cfg: scale of classifier-free guidance; None for none.
      sampler: its name; None for the default.
      steps: evaluations of the prior; None for the sampler's own number.
      aim: as `pigdm_jax.samplers.default` takes it.
      tile: as `Request` takes it.
      samples: number of restorations.
      seed: of the sampler's key.
    """

    damages: tuple[Damage, ...]
    simulate: bool = False
    prior: str = "photos-64"
    label: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    steps: int | None = None
    aim: str | None = None
    tile: int | None = None
    samples: int = 1
    seed: int = 0

    def request(self, mask: str = MASK) -> Request:
        """The request, which is the command's.

        Args:
          mask: the file of the mask.

        Raises:
          ValueError: if a choice is out of range, or two exclude each other.
        """
        task = task_for(self.damages, simulate=self.simulate, mask=mask)
        if self.aim is not None and self.sampler is not None:
            raise ValueError(
                "the aim chooses among the automatic samplers: choose a sampler or an "
                "aim"
            )
        check_count("The number of samples", self.samples, 1, MOST_SAMPLES)
        check_count("The seed", self.seed, 0, 2**32 - 1)
        for what, value, low, high in (
            ("The number of evaluations", self.steps, 1, MOST_STEPS),
            ("The class", self.label, 0, 10**6),
            ("The size of windows", self.tile, 0, 10**5),
        ):
            if value is not None:
                check_count(what, value, low, high)
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise ValueError(f"there is no sampler {self.sampler!r}")
        sampler = (
            None if self.sampler is None else parse(self.sampler, steps=self.steps)
        )
        fields = ("simulate", "steps", "aim", "prior", "label", "cfg", "tile", "seed")
        values: dict[str, Any] = {name: getattr(self, name) for name in fields}
        return Request(task, sampler=sampler, **values)

    def command(self, photo: str, mask: str = MASK) -> str:
        """The command that writes the same picture.

        Args:
          photo: the name of the photo's file.
          mask: the name of the mask's file.
        """
        task = task_for(self.damages, simulate=self.simulate, mask=mask)
        words = ["pigdm", "restore", photo, "--task", str(task)]
        if self.simulate:
            words.append("--simulate")
        for name, value in self._options().items():
            words += [f"--{name}", str(value)]
        if self.samples != 1:
            words += ["--samples", str(self.samples)]
        return shlex.join(words)

    def code(self, photo: str, mask: str = MASK) -> str:
        """Python code that writes the same picture.

        Args:
          photo: the name of the photo's file.
          mask: the name of the mask's file.
        """
        task = task_for(self.damages, simulate=self.simulate, mask=mask)
        arguments = [f"Task.parse({str(task)!r})"]
        if self.simulate:
            arguments.append("simulate=True")
        options = self._options()
        if "sampler" in options:
            steps = options.get("steps")
            options["sampler"] = None
            arguments.append(f"sampler=parse({self.sampler!r}, steps={steps})")
        arguments += [f"{k}={v!r}" for k, v in options.items() if v is not None]
        code = CODE.format(
            arguments=", ".join(arguments), photo=photo, samples=self.samples
        )
        if self.sampler is None:
            code = code.replace("from pigdm_jax.samplers import parse\n", "")
        return code

    def _options(self) -> dict[str, Any]:
        """The options that are not the command's own choice."""
        names = ("prior", "label", "cfg", "sampler", "steps", "aim", "tile", "seed")
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in names}
        return {k: v for k, v in values.items() if v != defaults[k]}


def whole_or_none(value: Any) -> int | None:
    """A number of the page, which may be empty or come as a float.

    Raises:
      ValueError: if it is no whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is expected")
    if value != int(value):
        raise ValueError(f"a whole number is expected, not {value}")
    return int(value)


def number_or_none(value: Any) -> float | None:
    """A number of the page; None if it is 0 or empty.

    Raises:
      ValueError: if it is no number.
    """
    if not value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is expected")
    return float(value)


def priors_here(own: Sequence[str] = ()) -> list[str]:
    """The priors that can be used without a download.

    Args:
      own: folders that the page was started with.
    """
    entries = catalogue().values()
    known = [e.name for e in entries if e.kind == "prior" and is_here(e)]
    return [*own, *shipped_priors(), *known]


def check_prior_offered(name: Any, own: Sequence[str] = ()) -> str:
    """A prior that the page offers: no other folder of the server.

    Raises:
      ValueError: if it is none.
    """
    offered = priors_here(own)
    if name not in offered:
        raise ValueError(
            "this prior is not on the server: choose one of the list, or download it "
            "under More"
        )
    return offered[offered.index(name)]
