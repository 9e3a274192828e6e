"""Flags that several commands share."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pigdm_jax.core.paths import check_name_fits
from pigdm_jax.pictures.formats import WRITTEN
from pigdm_jax.pictures.task import Task

if TYPE_CHECKING:
    import pigdm_jax.folder.plan
    import pigdm_jax.pictures.request


@dataclasses.dataclass(frozen=True)
class RestoreFlags:
    """Flags that determine every pixel of a restoration, of one picture or many.

    Attributes:
      task: what happened to the picture, in order: "super_resolution:4,box | jpeg:10".
        `pigdm info` lists the operators. "{stem}" stands for the picture's own name:
        "inpaint:masks/{stem}.png". Quote a file name that contains a comma or a bar.
      simulate: the picture is clean: degrade it first, restore the result and compare.
      noise: standard deviation of the noise for pixels from 0 to 1; the same as ending
        the task with "| denoise:NOISE". auto estimates it from each picture, which
        a task with "denoise" and no level does, too.
      prior: a prior that `pigdm prior list` shows, which is downloaded on first use,
        hf:org/name for a UNet2DModel of diffusers at Hugging Face, or a folder that
        `pigdm convert` or `pigdm train` made.
      label: class index, for a prior with classes.
      cfg: strength of classifier-free guidance, for a prior that was trained both with
        and without labels (JiT): 1 follows the label as in training, more follows it
        more closely, at twice the time. It needs --label.
      sampler: the sampler, as NAME or NAME:KEY=VALUE,...: "ddim:eta=0.5". The default
        needs few evaluations: fitted, coarse_to_fine for inpainting large pictures,
        relaxed for JPEG and other quantisation, or denoiser. The paper's algorithm is
        ddim, with 100 steps. `pigdm info` lists the samplers.
      steps: evaluations of the network; more take longer. The default depends on the
        sampler; it is 10 for fitted.
      aim: detail, one of the images that agree with the picture, or fidelity, nearer to
        the truth in squared error but smoother, at four times the evaluations. The
        default is fidelity for denoising (where it costs less), detail for other
        pictures with noise and for jpeg, and between the two where there is no noise.
      guidance: guidance of a sampler that uses one (fitted, if no sampler is given):
        pseudoinverse (the paper's), reconstruction (by the transpose), calibrated (step
        length from the network's own covariance) or moment (the whole covariance, at
        several times the cost), with parameters as in "moment:products=5".
      tile: restore in overlapping windows of this many pixels, which bounds memory; 0
        for the whole picture at once. By default pictures much larger than what the
        prior was trained on are restored so; for photos-64 those beyond 384 pixels.
      seed: a different seed gives a different sample. The key of each picture depends
        on the seed and on the content of its file.
    """

    task: str
    simulate: bool = False
    noise: float | Literal["auto"] | None = None
    prior: str = "photos-64"
    label: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    steps: int | None = None
    aim: Literal["detail", "fidelity"] | None = None
    guidance: str | None = None
    tile: int | None = None
    seed: int = 0

    def check_names(self) -> None:
        """Refuse unknown operators, samplers, guidances and priors, without JAX.

        Raises:
          ValueError: with the list of known names.
        """
        from pigdm_jax.guidance.registry import GUIDANCES
        from pigdm_jax.samplers.registry import SAMPLERS
        from pigdm_jax.weights.names import check_prior

        for kind, text, registry in (
            ("sampler", self.sampler, SAMPLERS),
            ("guidance", self.guidance, GUIDANCES),
        ):
            name = None if text is None else text.partition(":")[0].strip()
            if name is not None and name not in registry:
                raise ValueError(f"no {kind} {name!r}; there are {', '.join(registry)}")
        Task.check_names(self.task)
        check_prior(self.prior)

    def request(self) -> "pigdm_jax.pictures.request.Request":
        """The request that these flags make.

        Raises:
          ValueError: if a value is unknown or out of range.
        """
        self.check_names()
        task = Task.parse(self.task).with_noise(self.noise)
        from pigdm_jax.pictures.request import Request

        if self.aim is not None and (self.sampler or self.guidance):
            raise ValueError(
                "--aim chooses among the default samplers; leave out --sampler and "
                "--guidance, or --aim"
            )
        fields = ("simulate", "steps", "aim", "prior", "label", "cfg", "tile", "seed")
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
      batch: for a folder, number of pictures to restore at once; auto is as many as fit
        in memory.
      pad: for a folder, pad sides to multiples of this, so that fewer sizes have to be
        compiled.
      recursive: for a folder, restore pictures in its sub-folders, too.
    """

    batch: int | Literal["auto"] = "auto"
    pad: int = 1
    recursive: bool = False

    def check_unused(self) -> None:
        """Refuse these flags where there is no folder.

        Raises:
          ValueError: if one is given.
        """
        if self != FolderFlags():
            raise ValueError(
                "--batch, --pad and --recursive are for a folder, not one picture"
            )

    def job(
        self,
        folder: Path,
        out: Path | None,
        request: "pigdm_jax.pictures.request.Request",
        **options: Any,
    ) -> "pigdm_jax.folder.plan.Job":
        """The job for a folder.

        Args:
          folder: the pictures.
          out: the output folder; FOLDER-restored if not given.
          request: how to restore each picture.
          **options: other fields of `Job`.
        """
        from pigdm_jax.cli.prior_bar import PriorBar
        from pigdm_jax.folder.plan import Job

        with PriorBar(request.prior) as progress:
            prior = request.load(progress)
        return Job(
            request,
            prior,
            folder,
            output_folder(out, folder),
            None if self.batch == "auto" else self.batch,
            self.pad,
            self.recursive,
            **options,
        )


def output_path(
    out: Path | None, image: Path, suffix: str, *, lossless: bool = False
) -> Path:
    """The file to write a picture to, checked before anything is computed.

    Args:
      out: a file to write or a folder; None for the working folder.
      image: the input.
      suffix: of the name, IMAGE-SUFFIX.png.
      lossless: whether its format must keep pixels as they are.

    Raises:
      ValueError: if it is not a file of a format that is written, in an existing
        folder.
    """
    name = f"{image.stem}-{suffix}.png"
    if out is None:
        out = Path(name)
    elif out.is_dir():
        out = out / name
    formats = [s for s, form in WRITTEN.items() if form.lossless or not lossless]
    if out.suffix.lower() not in formats:
        raise ValueError(
            "--out must be a folder that exists, or a file whose name ends in one of "
            f"{', '.join(formats)}; got {out}"
        )
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.absolute().parent}")
    # The longest name of a file that is written beside it, while it is written.
    check_name_fits(out.with_name(f".{out.stem}-figure.{2**22}.tmp.png"))
    return out


def output_folder(out: Path | None, folder: Path) -> Path:
    """The folder to write restorations to, checked before anything is computed.

    Args:
      out: the folder, which need not exist; None for FOLDER-restored.
      folder: the input.

    Raises:
      ValueError: if it is a file, or is the input.
    """
    if out is None:
        return Path(f"{folder.resolve().name}-restored")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; a folder of pictures needs a folder")
    # `resolve` fails on links in a circle.
    if os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"--out {out} is the input; choose another folder")
    return out
