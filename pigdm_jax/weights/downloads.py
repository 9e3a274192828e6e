"""Downloads of single files, from the first of their mirrors that has them."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pigdm_jax.weights.cache import ELSEWHERE
from pigdm_jax.weights.catalogue import RemoteFile
from pigdm_jax.weights.disk import check_space

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, and the bytes that are done and to be done.

The last is None while it is unknown; both are 0 and None while something is done whose
progress is unknown.
"""

CHUNK = 2**16  # bytes between two calls of a `Progress`
PATIENCE = 30  # seconds without a byte after which a server is given up
logger = logging.getLogger(__name__)


class Download(NamedTuple):
    """A downloaded file: its path, size in bytes, SHA-256, and address."""

    path: Path
    size: int
    sha256: str
    address: str


class DownloadError(ValueError):
    """A file cannot be downloaded; the message says why, for each address.

    Attributes:
      absent: whether every server answers that there is no such file.
    """

    def __init__(self, reasons: str, absent: bool) -> None:
        super().__init__(reasons)
        self.absent = absent


class _Unfit(Exception):
    """What an address serves is not the file, as a clause about "it"."""


class _Absent(_Unfit):
    """The server answers that there is no such file."""


def download(
    file: RemoteFile,
    folder: Path,
    recorded: Callable[[str], str | None],
    progress: Progress,
) -> Download:
    """Download a file into a folder, whole and verified or not at all.

    Args:
      file: the file, which has mirrors.
      folder: an existing folder.
      recorded: a file's SHA-256 at an earlier download, by the file's name; None if
        there was none.
      progress: called with the address and the bytes that are done and to be done.

    Raises:
      DownloadError: if no mirror has the file.
      ValueError: if it cannot be written, or the disk is too small.
    """
    reasons, absent = [], True
    for address in file.mirrors:
        path = folder / file.name_from(address)
        logger.info("downloading %s to %s", address, path)
        try:
            return _from(address, path, file, recorded(path.name), progress)
        except _Unfit as reason:
            reasons.append(f"{address}: {reason}")
            absent = absent and isinstance(reason, _Absent)
            logger.info("%s is given up: %s", address, reason)
    raise DownloadError("; ".join(reasons), absent)


def verify(path: Path, file: RemoteFile, recorded: str | None) -> tuple[int, str]:
    """Compare a file on disk with what is known of it.

    Args:
      path: the file.
      file: the size and digest that it should have.
      recorded: its SHA-256 at an earlier download; None if there was none.

    Returns:
      Its size in bytes and SHA-256.

    Raises:
      ValueError: if it is another file, or cannot be read.
    """
    digests = _Digests(file, recorded)
    size = 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digests.update(chunk)
                size += len(chunk)
        digests.check(size)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except _Unfit as reason:
        raise ValueError(f"{path} is not the file of the catalogue: {reason}") from None
    return size, digests.sha256


class _Digests:
    """The digests of a file, computed while it is read, and those it should have."""

    def __init__(self, file: RemoteFile, recorded: str | None) -> None:
        self.size = file.size
        self._hashes = {"sha256": hashlib.sha256()}
        self._expected = []
        if file.digest is not None:
            kind, _, digest = file.digest.partition(":")
            self._hashes.setdefault(kind, hashlib.new(kind))
            self._expected.append((kind, digest, "the catalogue's"))
        if recorded is not None:
            self._expected.append(("sha256", recorded, "that of the first download"))

    def update(self, chunk: bytes) -> None:
        """Continue with the next bytes."""
        for digest in self._hashes.values():
            digest.update(chunk)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far."""
        return self._hashes["sha256"].hexdigest()

    def check(self, size: int) -> None:
        """Compare size and digests with those that are known.

        Raises:
          _Unfit: if one differs.
        """
        if self.size is not None and size != self.size:
            raise _Unfit(f"it has {size} bytes instead of {self.size}")
        for kind, expected, whose in self._expected:
            found = self._hashes[kind].hexdigest()
            if not found.startswith(expected):
                raise _Unfit(f"its {kind} is {found}, and {whose} is {expected}")


def _from(
    address: str,
    path: Path,
    file: RemoteFile,
    recorded: str | None,
    report: Progress,
) -> Download:
    """Download from one address.

    Raises:
      _Unfit: if it does not serve the file.
      ValueError: if the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    digests = _Digests(file, recorded)
    report(address, 0, file.size)
    done = 0
    try:
        with part.open("wb") as stream, _opened(address) as served:
            total = _total(served.length, file.size)
            check_space(path.parent, total or 0, address, ELSEWHERE)
            for chunk in served.chunks:
                done += len(chunk)
                if file.size is not None and done > file.size:
                    raise _Unfit(f"it has more than {file.size} bytes")
                stream.write(chunk)
                digests.update(chunk)
                report(address, done, total)
        digests.check(done)
        part.rename(path)
    except _Broken:
        of = f" of {total}" if total else ""
        raise _Unfit(f"the connection broke off after {done}{of} bytes") from None
    except OSError as error:
        raise ValueError(f"{part} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return Download(path, done, digests.sha256, address)


def _total(stated: str | None, expected: int | None) -> int | None:
    """The size of a file that is served, as far as it is known.

    Raises:
      _Unfit: if the server states another one.
    """
    if stated is None:
        return expected
    if not stated.isdecimal():
        raise _Unfit("the server states a length that is no number")
    if expected not in (None, int(stated)):
        raise _Unfit(f"it has {stated} bytes instead of {expected}")
    return int(stated)


class _Broken(Exception):
    """A connection broke off."""


class _Served(NamedTuple):
    """What a server sends: the length that it states, if any, and the bytes."""

    length: str | None
    chunks: Iterator[bytes]


@contextlib.contextmanager
def _opened(address: str) -> Iterator[_Served]:
    """A connection to an address.

    Raises:
      _Unfit: if it serves nothing.
      _Broken: if the connection breaks off later.
    """
    # Imported late: it takes a tenth of a second.
    import requests

    try:
        with requests.get(
            address,
            stream=True,
            timeout=PATIENCE,
            # Compressed, it would have another length.
            headers={"Accept-Encoding": "identity"},
        ) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length")
            yield _Served(length, _chunks(response, length))
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", error)
        kind = _Absent if status == 404 else _Unfit
        raise kind(f"the server answers {status}") from None
    except requests.Timeout:
        raise _Unfit(f"there is no answer within {PATIENCE} seconds") from None
    except requests.exceptions.SSLError:
        raise _Unfit("the server's certificate is not accepted") from None
    except requests.ConnectionError:
        raise _Unfit("there is no connection") from None
    except requests.RequestException as error:
        raise _Unfit(f"the request fails ({type(error).__name__})") from None


def _chunks(response: Any, length: str | None) -> Iterator[bytes]:
    """The bytes of a response.

    Raises:
      _Broken: if they end early.
    """
    import requests

    done = 0
    try:
        for chunk in response.iter_content(CHUNK):
            done += len(chunk)
            yield chunk
    except requests.RequestException:
        raise _Broken from None
    # Old versions of urllib3 do not compare them.
    if length is not None and done < int(length):
        raise _Broken
