"""How programs are compiled, and that they are kept for a second start."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import platformdirs

from pigdm_jax.core.pytree import node_types


def keep_compiled(place: str | None) -> Path | None:
    """Let JAX keep compiled programs in a folder.

    Args:
      place: the folder; "none" for none; None for the user's cache folder, or the one
        that JAX_COMPILATION_CACHE_DIR names.

    Returns:
      The folder.
    """
    if place == "none":
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    if place is None:
        place = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(place) if place else platformdirs.user_cache_path("pigdm_jax")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The small programs around the large one add up to seconds too.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


@functools.cache
def compiler_options() -> dict[str, str | int]:
    """What to tell XLA besides its defaults; nothing where it does not know the option.

    On CPUs, matrix products by Eigen: YNNPACK's keep fewer cores busy, and one picture
    takes a third longer with them. And vectors as wide as the processor's, where XLA
    takes half of AVX-512's. And optimisation barriers are kept: without them XLA finds
    that what `jax.checkpoint` would compute again is there already, and holds on to it
    (`benchmarks/README.md`).
    """
    options = {
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


def typed_jit(fun: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with a program for each combination of the arguments' types.

    JAX's own cache may take registered dataclasses of two types for one; see
    `pigdm_jax.core.pytree.pytree_class`.

    Args:
      fun: the function.
      **options: as `jax.jit` takes them; static arguments by `static_argnames`.
    """
    names = options.pop("static_argnames", ())
    names = (names,) if isinstance(names, str) else tuple(names)

    def keyed(*args: Any, kinds: Any, **kwargs: Any) -> Any:
        del kinds
        return fun(*args, **kwargs)

    keyed.__name__ = fun.__name__
    jitted = jax.jit(keyed, static_argnames=(*names, "kinds"), **options)

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        traced = {name: kwargs[name] for name in kwargs if name not in names}
        return jitted(*args, kinds=node_types((args, traced)), **kwargs)

    return call


def tuned_jit(fun: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`typed_jit` with `compiler_options`, which under another `jit` are that one's.

    Args:
      fun: the function.
      **options: as `jax.jit` takes them.
    """
    inner = typed_jit(fun, **options)

    @functools.cache
    def outer() -> Callable[..., Any]:
        return typed_jit(fun, compiler_options=compiler_options(), **options)

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        return (inner if traced else outer())(*args, **kwargs)

    return call
