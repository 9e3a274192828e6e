"""Obtaining the priors of the catalogue: download, verify, convert, keep."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pigdm_jax.core.locks import alone
from pigdm_jax.weights.cache import (
    ELSEWHERE,
    Source,
    is_here,
    places,
    read_sources,
    remove_files,
    remove_leftovers,
    temporary_of,
    write_sources,
)
from pigdm_jax.weights.catalogue import CatalogueEntry, RemoteFile
from pigdm_jax.weights.disk import check_space
from pigdm_jax.weights.downloads import (
    DownloadError,
    Progress,
    download,
    verify,
)

logger = logging.getLogger(__name__)


def obtain(
    entry: CatalogueEntry,
    given: Path | None = None,
    *,
    keep: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The folder of an entry's prior, which is downloaded and converted on first use.

    Processes that want the same prior at once wait for the first of them. An
    interrupted one leaves nothing that is taken for whole.

    Args:
      entry: of the catalogue.
      given: the file, or the folder of files, that would be downloaded.
      keep: whether the downloaded files are kept.
      progress: called with what is being done, and the bytes that are done and to be
        done.

    Raises:
      ValueError: if it cannot be downloaded, is not the file of the catalogue, is not
        converted, or there is no place for it; or if a file is given for a prior that
        is there.
    """
    found = places(entry)
    # A folder that cannot be written may hold priors, too.
    if given is None and is_here(entry):
        return found.prior
    if given is None:
        check_obtainable(entry)
    report: Progress = progress or (lambda what, done, total: None)
    with _working_on(entry, report):
        if not is_here(entry):
            remove_leftovers(entry)
            _make(entry, given, keep, report)
        elif given is not None:
            raise ValueError(
                f"{entry.name} is in {found.prior}; `pigdm prior remove {entry.name}` "
                "removes it"
            )
    return found.prior


def obtain_files(entry: CatalogueEntry, progress: Progress | None = None) -> list[Path]:
    """The files of an entry of a metric, which are downloaded on first use.

    They are kept as they are, and compared with their digests each time.

    Args:
      entry: of the catalogue.
      progress: called with what is being done, and the bytes that are done and to be
        done.

    Raises:
      ValueError: if they cannot be downloaded, or there is no place for them.
    """
    folder = places(entry).downloads
    report: Progress = progress or (lambda what, done, total: None)
    with _working_on(entry, report):
        remove_leftovers(entry)
        check_space(folder, entry.size or 0, entry.name, ELSEWHERE)
        folder.mkdir(parents=True, exist_ok=True)
        before = read_sources(entry)
        hint = f"or put the file that you have into {folder}"
        sources = _download(entry, folder, before, report, hint)
        write_sources(entry, before | sources)
    return [folder / name for name in sources]


def remove(entry: CatalogueEntry) -> int:
    """Remove an entry's prior and downloads, and return the bytes that were freed.

    Raises:
      ValueError: if there are none, or they cannot be removed.
    """
    found = places(entry)
    if not (found.prior.exists() or found.downloads.exists()):
        raise ValueError(f"{entry.name} is not in {found.prior.parent}")
    with _working_on(entry, lambda what, done, total: None):
        remove_leftovers(entry)
        return remove_files(entry)


def check_obtainable(entry: CatalogueEntry) -> None:
    """Refuse an entry that can be neither found nor downloaded.

    Raises:
      ValueError: if no address is known of a file, and the prior is not there.
    """
    if not (entry.downloadable or is_here(entry)):
        raise ValueError(
            f"no address is known of {entry.name}'s file: download it by hand, see "
            f"{entry.home}, then run `pigdm prior get {entry.name} --from FILE`"
        )


@contextlib.contextmanager
def _working_on(entry: CatalogueEntry, report: Progress) -> Iterator[None]:
    """Hold an entry's lock; say what is wrong with the folder if it cannot be written.

    Raises:
      ValueError: if it cannot.
    """
    lock = places(entry).lock
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with alone(lock, lambda: report("waiting for another process", 0, None)):
            yield
    except OSError as error:
        root = lock.parents[1]
        raise ValueError(
            f"cannot write to {error.filename or root}: {error.strerror}; {ELSEWHERE}"
        ) from None


def _make(
    entry: CatalogueEntry, given: Path | None, keep: bool, report: Progress
) -> None:
    """Make the prior of an entry that is not there."""
    found, before = places(entry), read_sources(entry)
    root = found.prior.parent
    root.mkdir(parents=True, exist_ok=True)
    # The files and the prior made from them are about as large.
    needed = (entry.size or 0) * (2 if given is None else 1)
    check_space(root, needed, entry.name, ELSEWHERE)
    if given is not None:
        sources = _verify_given(entry, given, before)
        _convert(entry, given, str(given), report)
    else:
        found.downloads.mkdir(parents=True, exist_ok=True)
        try:
            hint = f"`pigdm prior get {entry.name} --from FILE` takes a file that you"
            sources = _download(entry, found.downloads, before, report, f"{hint} have")
            (name, source), *others = sources.items()
            file = found.downloads if others else found.downloads / name
            _convert(entry, file, source.origin, report)
        finally:
            if not keep:
                shutil.rmtree(found.downloads, ignore_errors=True)
    write_sources(entry, before | sources)


def _download(
    entry: CatalogueEntry,
    folder: Path,
    before: dict[str, Source],
    report: Progress,
    hint: str,
) -> dict[str, Source]:
    """Download an entry's files, unless they were kept; return their record.

    The hint says what can be done if one cannot be downloaded.

    Raises:
      ValueError: if one cannot be downloaded.
    """
    recorded = {name: source.sha256 for name, source in before.items()}
    sources: dict[str, Source] = {}
    for file in entry.files:
        if kept := _kept(file, folder, before):
            sources |= kept
            continue
        try:
            new = download(file, folder, recorded.get, report)
        except DownloadError as error:
            if file.optional and error.absent:
                continue
            raise ValueError(
                f"{entry.name} cannot be downloaded: {error}; {hint}"
            ) from None
        sources[new.path.name] = Source(new.size, new.sha256, new.address)
    return sources


def _kept(
    file: RemoteFile, folder: Path, before: dict[str, Source]
) -> dict[str, Source]:
    """The record of a file that is there from before and known to be whole, if any."""
    for name in file.names:
        path, earlier = folder / name, before.get(name)
        if path.exists() and (file.digest or earlier):
            with contextlib.suppress(ValueError):
                size, sha256 = verify(path, file, earlier and earlier.sha256)
                origin = earlier.origin if earlier else file.mirrors[0]
                return {name: Source(size, sha256, origin)}
    return {}


def _verify_given(
    entry: CatalogueEntry, given: Path, before: dict[str, Source]
) -> dict[str, Source]:
    """Compare given files with what is known of them; return their record.

    Raises:
      ValueError: if one is missing or another file.
    """
    single = len(entry.files) == 1
    sources: dict[str, Source] = {}
    if not single and not given.is_dir():
        raise ValueError(f"{entry.name} has several files: give the folder of them")
    for file in entry.files:
        names = file.names
        if single:
            name, path = names[0], given
        else:
            there = [name for name in names if (given / name).is_file()]
            if not there and file.optional:
                continue
            if not there:
                raise ValueError(f"{given} has no {' and no '.join(names)}")
            name, path = there[0], given / there[0]
        earlier = before.get(name)
        size, sha256 = verify(path, file, earlier and earlier.sha256)
        sources[name] = Source(size, sha256, str(path.absolute()))
    return sources


def _convert(
    entry: CatalogueEntry, source: Path, origin: str, report: Progress
) -> None:
    """Convert an entry's files to its prior.

    Raises:
      ValueError: if they are damaged, or not what the entry says.
    """
    # Imported late: these import JAX.
    from pigdm_jax.networks import CheckpointFlags
    from pigdm_jax.weights.conversion import convert
    from pigdm_jax.weights.metadata import read_metadata

    found = places(entry)
    report(f"converting {entry.name}", 0, None)
    logger.info("converting %s to %s", source, found.prior)
    temporary = temporary_of(found.prior)
    flags = CheckpointFlags(**entry.flags)
    try:
        convert(source, temporary, flags, description=entry.description)
        metadata = read_metadata(temporary)
        recognised = metadata["source"].get("recognised", "").split(", ")
        side = metadata["trained_size"]
        if entry.checkpoint and entry.checkpoint not in recognised:
            raise ValueError(f"{source} does not have the tensors of {entry.name}")
        if entry.trained_size and side not in (None, entry.trained_size):
            raise ValueError(f"{source} is a prior of {side} pixels, not {entry.name}")
        os.rename(temporary, found.prior)
    except ValueError as error:
        # Neither of these paths is there when the user reads it.
        text = str(error).replace(str(temporary), str(found.prior))
        raise ValueError(text.replace(str(source), origin)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
