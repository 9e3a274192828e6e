"""`pigdm degrade`: make a damaged picture from a clean one."""

from pathlib import Path

from tyro.conf import Positional

from pigdm_jax.cli.flags import output_path
from pigdm_jax.core.paths import check_readable
from pigdm_jax.pictures.outputs import INPUT, NAMED, check_outputs
from pigdm_jax.pictures.task import Task


def degrade(
    image: Positional[Path],
    task: str,
    noise: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Degrade a clean picture, to try `pigdm restore` on the result.

    Args:
      image: a clean picture file.
      task: how to degrade it: "super_resolution:4,box | jpeg:10".
      noise: standard deviation of noise to add, for pixels from 0 to 1.
      seed: seed of the noise.
      out: the .png, .tif or .webp file to write, without loss, or a folder for it;
        default IMAGE-degraded.png.
      overwrite: replace a file that exists; never the picture itself or a file that the
        task names.
    """
    check_readable(image)
    Task.check_names(task)
    out = output_path(out, image, "degraded", lossless=True)
    check_outputs([out], {image: INPUT}, overwrite=overwrite)

    from pigdm_jax.cli.console import console
    from pigdm_jax.pictures.formats import check_size
    from pigdm_jax.pictures.request import Request
    from pigdm_jax.pictures.writing import remarks_on, write_restored

    request = Request(Task.parse(task).with_noise(noise), simulate=True, seed=seed)
    named = dict.fromkeys(map(Path, request.task.of(image.stem).files), NAMED)
    check_outputs([out], named | {image: INPUT}, overwrite=overwrite)
    case, _ = request.read(image)
    if seed and case.problem.noise_std is None and not case.problem.operator.draws:
        raise ValueError("--seed is that of the noise, and there is none; see --noise")
    for remark in (*case.remarks, *remarks_on(out, case.kept)):
        console.print(f"note: {remark}")
    picture = case.problem.operator.to_picture(case.problem.y)
    check_size(out, *picture.shape[:2])
    write_restored(out, picture, case.kept)
    console.print(f"wrote {out}")
