"""`pigdm compile`: compile ahead of a restoration."""

import time
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from pigdm_jax.cli.flags import FolderFlags, RestoreFlags
from pigdm_jax.core.paths import check_readable
from pigdm_jax.devices.hosts import device_for_each_core


def compile_ahead(
    image: Positional[Path],
    flags: Annotated[RestoreFlags, tyro.conf.arg(name="")],
    folder_flags: Annotated[FolderFlags, tyro.conf.arg(name="")] = FolderFlags(),  # noqa: B008
    cache: str | None = None,
) -> None:
    """Precompile the programs that `pigdm restore` would run with these arguments.

    Args:
      image: a picture file, or a folder of them.
      flags: as for `pigdm restore`.
      folder_flags: for a folder.
      cache: folder to keep compiled programs in.
    """
    check_readable(image)
    flags.check_names()
    if not image.is_dir():
        folder_flags.check_unused()
    if cache == "none":
        raise ValueError("--cache none keeps nothing; leave it out")
    if image.is_dir():
        device_for_each_core()

    from pigdm_jax.cli.console import console
    from pigdm_jax.core.compilation import cache_problem, keep_compiled

    began = time.perf_counter()
    folder = keep_compiled(cache)
    if problem := cache_problem(tried=True):
        raise ValueError(problem)
    if image.is_dir():
        _compile_folder(image, flags, folder_flags)
    else:
        _compile_picture(image, flags)
    if problem := cache_problem():
        raise ValueError(problem)
    console.print(f"ready in {time.perf_counter() - began:.1f} s, kept in {folder}")


def _compile_folder(
    folder: Path, flags: RestoreFlags, folder_flags: FolderFlags
) -> None:
    from pigdm_jax.cli.console import console
    from pigdm_jax.folder.compute import compile_group
    from pigdm_jax.folder.plan import list_checked

    job = folder_flags.job(folder, None, flags.request(), remark=console.print)
    for shape, entries in list_checked(job).groups.items():
        compile_group(job, shape, entries)


def _compile_picture(image: Path, flags: RestoreFlags) -> None:
    from pigdm_jax.cli.prior_bar import PriorBar

    request = flags.request()
    with PriorBar(request.prior) as progress:
        prepared = request.prepare(image, progress)
    prepared.precompile(request.sampler_for(prepared.prior, prepared.case.problem))
