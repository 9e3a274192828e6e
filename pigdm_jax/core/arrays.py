"""Checks of arrays: types and shapes always, values where they are not traced."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.checks import given

# No image in [-1, 1] or near it, and no measurement of one, has values like these, but
# 8-bit pixels have.
LARGE = 16.0
TO_IMAGE = "divide by 127.5 and subtract 1"


def known(tree: Any) -> list[np.ndarray]:
    """The numbers of a pytree that are neither traced nor on other hosts.

    They are copied from their devices together.
    """
    kinds = jax.Array | np.ndarray | np.generic | int | float
    leaves = [
        leaf
        for leaf in jax.tree.leaves(tree)
        if isinstance(leaf, kinds)
        and not isinstance(leaf, jax.core.Tracer)
        and getattr(leaf, "is_fully_addressable", True)
    ]
    return [np.asarray(leaf) for leaf in jax.device_get(leaves)]


def is_real(value: Any) -> bool:
    """Whether a value is a real number or an array of them; booleans are none."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "shape"):
        return False
    return any(jax.dtypes.issubdtype(dtype, k) for k in (np.floating, np.integer))


def are_finite(array: np.ndarray) -> np.ndarray:
    """Which numbers are finite, also in float32."""
    return np.abs(array.astype(np.float64)) <= np.finfo(np.float32).max


def as_numbers(name: str, value: Any) -> np.ndarray:
    """An array of finite numbers in float64, from all that NumPy converts to one.

    Raises:
      ValueError: if it is none, or has NaN or infinite values.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "OSUMmc":
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        array = np.asarray("")
    if array.dtype.kind != "f":
        raise ValueError(f"{name} must be real numbers, got {given(value)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, but has NaN or infinite values")
    return array


def check_image(name: str, image: Any, shape: tuple[int, ...] | None = None) -> None:
    """Check an image: its type and shape, and where it is not traced, its values.

    Args:
      name: of the argument, for the error.
      image: the argument; (height, width, channels), about [-1, 1].
      shape: the shape that it must have; None for any of three axes.

    Raises:
      ValueError: if it is no array of real numbers, has another shape, is not finite,
        or has 8-bit pixels, 0 to 255.
    """
    if not is_real(image):
        raise ValueError(
            f"{name} must be an array of real numbers in [-1, 1], got {given(image)}"
        )
    if len(jnp.shape(image)) != 3 or shape not in (None, jnp.shape(image)):
        wanted = "(height, width, channels)" if shape is None else shape
        raise ValueError(f"{name} must have shape {wanted}, got {jnp.shape(image)}")
    values = known(image)
    check_finite(name, values)
    refuse_pixels(name, values)


def check_finite(name: str, tree: Any) -> None:
    """Check that numbers which are not traced are finite, also in float32.

    Raises:
      ValueError: that says how many are not.
    """
    arrays = known(tree)
    count = sum(a.size for a in arrays)
    wrong = count - sum(int(are_finite(a).sum()) for a in arrays)
    if not wrong:
        return
    raise ValueError(
        f"{name} must be finite in float32, but {wrong} of its {count} values are NaN "
        "or infinite"
    )


def refuse_pixels(
    name: str, tree: Any, bound: Callable[[], float] = lambda: 1.0
) -> None:
    """Refuse 8-bit pixels where values of about [-bound, bound] are expected.

    Args:
      name: of the argument, for the error.
      tree: the argument.
      bound: called only for values that may be pixels.

    Raises:
      ValueError: for values above 1 in uint8, or only values from 0 on with some far
        beyond the bound.
    """
    for array in known(tree):
        largest = array.max(initial=0)
        small = array.dtype == np.uint8 and largest > 1
        high = array.min(initial=0) >= 0 and largest >= LARGE
        if small or (high and largest >= LARGE * bound()):
            raise ValueError(
                f"{name} must be in the unit of images in [-1, 1], got values up to "
                f"{largest} in {array.dtype}; if they are pixels from 0 to 255, "
                f"{TO_IMAGE}"
            )


def check_key(name: str, key: Any, batch: tuple[int, ...] = ()) -> None:
    """Check a `jax.random` key, of the new or of the old style.

    Args:
      name: of the argument, for the error.
      key: the argument.
      batch: the shape of an array of keys.

    Raises:
      TypeError: if it is no key.
      ValueError: if it is another number of keys.
    """
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != np.uint32 or not jnp.ndim(key)):
        seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
        example = f"jax.random.key({seed})"
        if batch:
            example = f"jax.random.split({example}, {batch[0]})"
        raise TypeError(f"{name} must be {example} or the like, got {given(key)}")
    impl = jax.config.jax_default_prng_impl  # type: ignore[attr-defined]
    words = () if typed else ((2,) if impl == "threefry2x32" else (4,))
    if jnp.shape(key) != (*batch, *words):
        wanted = f"keys of shape {batch}" if batch else "one key"
        raise ValueError(
            f"{name} must be {wanted}, got {given(key)}; use restore_batch or jax.vmap "
            "for several images"
        )
