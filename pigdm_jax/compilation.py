"""Compiled programs kept on disk, so that a second start need not compile."""

import os
from pathlib import Path

import jax
import platformdirs


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
