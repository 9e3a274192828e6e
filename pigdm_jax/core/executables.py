"""Executables kept on disk, which a later process loads without tracing.

JAX's own cache of compiled programs is keyed by the lowered program, so every process
traces and lowers each function again before it finds it there: seconds for a network
with its vector-Jacobian product. Here the key is what determines the lowered program
(`pigdm_jax.core.program_keys`). A file that is damaged or that this machine refuses is
compiled again and replaced.
"""

import contextlib
import hashlib
import os
import pickle
import re
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from pigdm_jax.core.program_keys import program_key, stamp

DIGEST = 32  # bytes at the beginning of a file, the SHA-256 of the others


class Executable:
    """A compiled function of a tree's leaves.

    Attributes:
      compiled: takes a list of leaves and returns one.
      outputs: the structure of the outputs' tree.
    """

    def __init__(self, compiled: jax.stages.Compiled, outputs: Any) -> None:
        self.compiled, self.outputs = compiled, outputs

    def __call__(self, leaves: list[Any]) -> Any:
        """The outputs for a list of leaves of the kind it was compiled for."""
        return jax.tree.unflatten(self.outputs, self.compiled(leaves))


class Store:
    """The executables of a folder, which no other user may be able to write to.

    Attributes:
      folder: where they are.
      used: keys of those that this process has asked for, in order.
      problem: why executables could not be written; None if they could.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: dict[str, None] = {}
        self.problem: str | None = None
        self._loading: dict[str, Future] = {}
        self._threads = ThreadPoolExecutor(2)
        self._lock = threading.Lock()

    def get(self, key: str) -> Executable | None:
        """The executable with a key; None if there is none that loads."""
        self.used[key] = None
        return self._load(key).result()

    def put(self, key: str, executable: Executable) -> None:
        """Keep an executable; `problem` says why if it cannot be written."""
        # A structure with classes of its own cannot be pickled; a tree of it can.
        count = executable.outputs.num_leaves
        outputs = jax.tree.unflatten(executable.outputs, range(count))
        try:
            serialized = serialize_executable.serialize(executable.compiled)
            program = executable.compiled.runtime_executable()
            if program is None:
                return
            devices = [device.id for device in program.local_devices()]
            content = pickle.dumps((serialized, outputs, devices))
        except (pickle.PicklingError, ValueError, TypeError, AttributeError):
            return
        self._write(self._path(key), hashlib.sha256(content).digest() + content)

    def check(self) -> None:
        """Try to write; `problem` says why if it fails."""
        path = self._path(".tried")
        self._write(path, b"")
        with contextlib.suppress(OSError):
            path.unlink()

    def _write(self, path: Path, content: bytes) -> None:
        try:
            _write(path, content)
        except OSError as error:
            self.problem = error.strerror or str(error)
            return
        if not _is_ours(path.parent):
            self.problem = "other users may write to it, so nothing is read from it"

    def prefetch(self, name: str) -> None:
        """Begin to load what a run that was remembered by this name used."""
        keys = self._remembered(name).split()
        keys = [key for key in keys if re.fullmatch("[0-9a-f]{64}", key)]
        # The largest takes longest.
        for key in sorted(keys, key=self._size, reverse=True):
            self._load(key)

    def remember(self, name: str) -> None:
        """Note what this process used, for `prefetch`."""
        text = "\n".join(self.used)
        if text != self._remembered(name):
            self._write(self._list(name), text.encode())

    def _remembered(self, name: str) -> str:
        path = self._list(name)
        try:
            return path.read_bytes().decode("ascii") if path.is_file() else ""
        except (OSError, ValueError):
            return ""

    def _size(self, key: str) -> int:
        path = self._path(key)
        return path.stat().st_size if path.exists() else 0

    def _path(self, key: str) -> Path:
        return self.folder / "executables" / key

    def _list(self, name: str) -> Path:
        digest = hashlib.sha256((name + stamp()).encode()).hexdigest()
        return self.folder / "executables" / f"{digest}.used"

    def _load(self, key: str) -> Future:
        with self._lock:
            if key not in self._loading:
                self._loading[key] = self._threads.submit(_read, self._path(key))
            return self._loading[key]


def _read(path: Path) -> Executable | None:
    try:
        if not (_is_ours(path.parent) and path.is_file()):
            return None
        content = path.read_bytes()
        digest, content = content[:DIGEST], content[DIGEST:]
        # XLA may crash on a damaged one.
        if hashlib.sha256(content).digest() != digest:
            return None
        (program, inputs, form), outputs, devices = pickle.loads(content)
        by_id = {device.id: device for device in jax.local_devices()}
        # Without them it would be loaded for all of the process's devices.
        compiled = serialize_executable.deserialize_and_load(
            program,
            inputs,
            form,
            execution_devices=[by_id[number] for number in devices],
        )
        return Executable(compiled, jax.tree.structure(outputs))
    except Exception:
        # There is none, or whatever a damaged file or a foreign machine raises.
        return None


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
      OSError: if it cannot be written.
    """
    # Threads, too, may write the same file at the same time.
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{writer}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_ours(folder: Path) -> bool:
    """Whether what is in a folder is this user's: it will be run."""
    try:
        stat = folder.stat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (
        stat.st_uid == os.getuid() and not stat.st_mode & 0o022
    )


def stored(
    store: Store | None,
    fun: Callable[..., Any],
    args: Any,
    options: dict[str, Any],
    static: Hashable = (),
) -> Executable:
    """The executable of a function for arguments like these.

    Args:
      store: where it is kept, if anywhere.
      fun: a function of `args`, a tuple of pytrees.
      args: its arguments, or `jax.ShapeDtypeStruct`s like them.
      options: compiler options.
      static: what else determines the program.
    """
    leaves, tree = jax.tree.flatten(args)
    key = None if store is None else program_key(fun, tree, leaves, (options, static))
    if store is None or key is None:
        return _compiled(fun, tree, leaves, options)
    executable = store.get(key)
    if executable is None:
        executable = _compiled(fun, tree, leaves, options)
        store.put(key, executable)
    return executable


def _compiled(
    fun: Callable[..., Any], tree: Any, leaves: list[Any], options: dict[str, Any]
) -> Executable:
    outputs: list[Any] = []

    def flat(leaves: list[Any]) -> list[Any]:
        out, form = jax.tree.flatten(fun(*jax.tree.unflatten(tree, leaves)))
        outputs.append(form)
        return out

    flat.__name__ = getattr(fun, "__name__", "program")
    compiled = jax.jit(flat).lower(leaves).compile(options)
    return Executable(compiled, outputs[-1])
