"""How programs are compiled, and kept for the next process."""

import functools
import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs
from jax.sharding import SingleDeviceSharding

from pigdm_jax.core.executables import Executable, Store, stored
from pigdm_jax.core.pytree import node_types

# Where executables are kept, if anywhere; set by `keep_compiled`.
_store: Store | None = None


def keep_compiled(place: str | None) -> Path | None:
    """Keep compiled programs in a folder, as `pigdm_jax.core.executables` describes.

    JAX's own cache is switched off: an executable that was loaded from there cannot be
    written again as a whole (jaxlib 0.10.2, CPU).

    Args:
      place: the folder; "none" for none; None for the user's cache folder, or the one
        that JAX_COMPILATION_CACHE_DIR names.

    Returns:
      The folder.
    """
    global _store
    jax.config.update("jax_compilation_cache_dir", None)
    if place == "none":
        _store = None
        return None
    if place is None:
        place = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(place) if place else platformdirs.user_cache_path("pigdm_jax")
    _store = Store(folder)
    return folder


def cache_problem(*, tried: bool = False) -> str | None:
    """Why compiled programs are not kept, in a sentence; None if they are.

    Args:
      tried: whether to try whether they could be; else only what has happened counts.
    """
    if _store is None:
        return None
    if tried:
        _store.check()
    if _store.problem is None:
        return None
    return f"compiled programs are not kept in {_store.folder}: {_store.problem}"


def compiled_for(
    fun: Callable[..., Any], args: Any, static: Hashable = ()
) -> Executable:
    """A function compiled for arguments like these; from the store, if there is one.

    Args:
      fun: a function of `args`; its closure must be determined by `static`.
      args: a tuple of pytrees of arrays or `jax.ShapeDtypeStruct`s, with shardings.
      static: what else determines the program, whose `repr` shows all of it.
    """
    return stored(_store, fun, args, compiler_options(), static)


def prefetch(name: str) -> None:
    """Begin to load the executables that a run called `name` used before."""
    if _store is not None:
        _store.prefetch(name)


def remember(name: str) -> None:
    """Note which executables this process has used, for `prefetch`."""
    if _store is not None:
        _store.remember(name)


@functools.cache
def compiler_options() -> dict[str, str | int]:
    """XLA's options for programs on the CPU; empty elsewhere or if XLA rejects them.

    - Matrix products by Eigen: YNNPACK's use fewer cores, and one picture takes a third
      longer with them.
    - Vectors of 512 bits where the processor has them; XLA's default is 256.
    - Optimisation barriers are kept. Without them XLA's common-subexpression
      elimination undoes `jax.checkpoint`: it reuses the stored values that should have
      been recomputed, and so keeps them in memory (`benchmarks/README.md`).
    """
    options: dict[str, str | int] = {
        "xla_cpu_experimental_ynn_fusion_type": "",
        "xla_cpu_prefer_vector_width": 512,
        "xla_disable_hlo_passes": "cse_barrier_expander",
    }
    if jax.default_backend() != "cpu":
        return {}
    try:
        barrier = jax.jit(jax.lax.optimization_barrier, compiler_options=options)
        barrier.lower(0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def program_bytes(compiled: jax.stages.Compiled) -> int:
    """Memory that a program needs on each device, by XLA's own analysis, in bytes."""
    sizes = compiled.memory_analysis()
    assert sizes is not None  # every platform's compiler gives it
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )


def typed_jit(
    fun: Callable[..., Any], *, tuned: bool = False, **options: Any
) -> Callable[..., Any]:
    """`jax.jit` with a program for each combination of the arguments' types.

    JAX's own cache may take registered dataclasses of two types for one; see
    `pigdm_jax.core.pytree.pytree_class`. Where executables are kept (`keep_compiled`),
    a call outside of another trace, of positional arguments on the default device,
    loads its executable instead of tracing the function.

    Types are promoted by JAX's standard rules, whatever the user has set.

    Args:
      fun: the function.
      tuned: compile with `compiler_options`; under another `jit` they are that one's.
      **options: as `jax.jit` takes them; static arguments by `static_argnames`.
    """
    names = options.pop("static_argnames", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    executables: dict[Any, Executable] = {}

    def keyed(*args: Any, kinds: Any, **kwargs: Any) -> Any:
        del kinds
        # Spectra multiply real by complex arrays, which "strict" would refuse.
        with jax.numpy_dtype_promotion("standard"):
            return fun(*args, **kwargs)

    keyed.__name__ = fun.__name__
    inner = jax.jit(keyed, static_argnames=(*names, "kinds"), **options)

    @functools.cache
    def outer() -> Callable[..., Any]:
        if not tuned:
            return inner
        return jax.jit(
            keyed,
            static_argnames=(*names, "kinds"),
            compiler_options=compiler_options(),
            **options,
        )

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        traced = {name: kwargs[name] for name in kwargs if name not in names}
        kinds = node_types((args, traced))
        leaves, tree = jax.tree.flatten((args, traced))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return inner(*args, kinds=kinds, **kwargs)
        if _store is None or kwargs or not _is_storable(leaves):
            return outer()(*args, kinds=kinds, **kwargs)
        leaves = [_as_array(leaf) for leaf in leaves]
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = _store, kinds, tree, shapes
        if key not in executables:
            args, _ = jax.tree.unflatten(tree, leaves)
            options = compiler_options() if tuned else {}
            executables[key] = stored(_store, fun, args, options)
        return executables[key](leaves)

    return call


def tuned_jit(fun: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`typed_jit` with `compiler_options`.

    Args:
      fun: the function.
      **options: as `jax.jit` takes them.
    """
    return typed_jit(fun, tuned=True, **options)


def _is_storable(leaves: list[Any]) -> bool:
    """Whether all arrays are on the default device, and functions are compiled."""
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return False
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    device = default or jax.local_devices()[0]
    return all(
        leaf.sharding == SingleDeviceSharding(device)
        for leaf in leaves
        if isinstance(leaf, jax.Array)
    )


def _as_array(leaf: Any) -> Any:
    """A number as an array of its strong type, so that its program is one."""
    if isinstance(leaf, jax.Array):
        return leaf
    return np.asarray(leaf, jax.dtypes.canonicalize_dtype(np.result_type(leaf)))
