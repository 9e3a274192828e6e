"""Flags that several commands share."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pigdm_jax.pictures.task import Task

if TYPE_CHECKING:
    import pigdm_jax.folder.plan
    import pigdm_jax.pictures.request


@dataclasses.dataclass(frozen=True)
class RestoreFlags:
    """Flags that determine every pixel of a restoration, of one picture or many.

    Attributes:
      task: what happened to it, in order: "super_resolution:4,box | jpeg:10". `pigdm
        info` lists what there is. "{stem}" stands for the picture's own name:
        "inpaint:masks/{stem}.png". Quote a file name that contains a comma or a bar.
      simulate: the picture is clean: degrade it first, restore the result and compare.
      noise: standard deviation of the noise for pixels from 0 to 1; the same as ending
        the task with "| denoise:NOISE".
      prior: a shipped prior, or a folder that `pigdm convert` or `pigdm train` made.
      label: class index, for a prior with classes.
      sampler: how to sample, as NAME or NAME:KEY=VALUE,...: "ddim:eta=0.5". The default
        is one for few evaluations: fitted, or ddnm for denoising. The paper's algorithm
        is ddim, with 100 steps. `pigdm info` lists them.
      steps: evaluations of the network; more take longer. The default is the sampler's
        own, 10 for fitted.
      guidance: of a sampler that has one (fitted, if none is named): pseudoinverse (the
        paper's), reconstruction (by the transpose), calibrated (step length from the
        network's own covariance) or moment (all of that covariance, at several times
        the cost), written as a sampler is: "moment:products=5".
      tile: restore in overlapping windows of this many pixels, which bounds memory for
        large pictures. Priors of a fixed size do so by themselves.
      seed: another seed gives another sample. Every picture has a key of its own, from
        the seed and its file's content.
    """

    task: str
    simulate: bool = False
    noise: float | None = None
    prior: str = "photos-64"
    label: int | None = None
    sampler: str | None = None
    steps: int | None = None
    guidance: str | None = None
    tile: int | None = None
    seed: int = 0

    def check_names(self) -> None:
        """Refuse unknown samplers, guidances and operators, without importing JAX.

        Raises:
          ValueError: with the list of what there is.
        """
        from pigdm_jax.guidance.registry import GUIDANCES
        from pigdm_jax.samplers.registry import SAMPLERS

        for kind, text, registry in (
            ("sampler", self.sampler, SAMPLERS),
            ("guidance", self.guidance, GUIDANCES),
        ):
            name = None if text is None else text.partition(":")[0].strip()
            if name is not None and name not in registry:
                raise ValueError(f"no {kind} {name!r}; there are {', '.join(registry)}")
        Task.check_names(self.task)

    def request(self) -> "pigdm_jax.pictures.request.Request":
        """The request that they make.

        Raises:
          ValueError: if one of them makes no sense.
        """
        self.check_names()
        task = Task.parse(self.task).with_noise(self.noise)
        from pigdm_jax.pictures.request import Request

        fields = ("simulate", "steps", "prior", "label", "tile", "seed")
        values: dict[str, Any] = {name: getattr(self, name) for name in fields}
        return Request(task, sampler=self._sampler(), **values)

    def _sampler(self) -> Any:
        from pigdm_jax.samplers import parse

        if self.sampler is None and self.guidance is None:
            return None
        name = "fitted" if self.sampler is None else self.sampler
        return parse(name, steps=self.steps, guidance=self.guidance)


@dataclasses.dataclass(frozen=True)
class FolderFlags:
    """Flags for a folder of pictures.

    Attributes:
      batch: for a folder, pictures to restore at once; auto is as many as fit.
      pad: for a folder, enlarge sides to multiples of this, so that fewer sizes have to
        be compiled.
    """

    batch: int | Literal["auto"] = "auto"
    pad: int = 1

    def job(
        self,
        folder: Path,
        out: Path | None,
        request: "pigdm_jax.pictures.request.Request",
        **callbacks: Any,
    ) -> "pigdm_jax.folder.plan.Job":
        """The job for a folder.

        Args:
          folder: the pictures.
          out: where restorations go; FOLDER-restored if not given.
          request: what to do to each.
          **callbacks: `remark` and `progress`, as `Job` has them.
        """
        from pigdm_jax.folder.plan import Job
        from pigdm_jax.weights.store import load_prior

        return Job(
            request,
            load_prior(request.prior, label=request.label),
            folder,
            Path(f"{folder.resolve().name}-restored") if out is None else out,
            None if self.batch == "auto" else self.batch,
            self.pad,
            **callbacks,
        )


def check_exists(path: Path) -> None:
    """Refuse an input that is not there.

    Raises:
      ValueError: if there is no such file or folder.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}")


def output_path(out: Path | None, image: Path, suffix: str) -> Path:
    """Where a picture is written, checked before any work.

    Args:
      out: a .png file or a folder; None for the working folder.
      image: the input.
      suffix: of the name, IMAGE-SUFFIX.png.

    Raises:
      ValueError: if nothing can be written there, or it is the input.
    """
    name = f"{image.stem}-{suffix}.png"
    if out is None:
        out = Path(name)
    elif out.is_dir():
        out = out / name
    if out.suffix.lower() != ".png":
        raise ValueError(
            "--out must be a folder that exists or a .png file, which stores pixels "
            f"without loss; got {out}"
        )
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.absolute().parent}")
    if out.exists() and image.exists() and out.samefile(image):
        raise ValueError(f"--out {out} is the input; choose another name")
    return out
