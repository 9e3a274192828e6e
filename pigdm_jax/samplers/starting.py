"""The image and the noisy sample that a sampler starts from."""

import jax
import jax.numpy as jnp

from pigdm_jax.core.arrays import check_image, is_real
from pigdm_jax.core.types import Image, ImageShape, Number, PRNGKey
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.problem import Problem


def starting_sample(
    key: PRNGKey, shape: ImageShape, alpha_bar: Number, init: Image | None
) -> Image:
    """Pure noise z, or sqrt(alpha_bar) init + sqrt(1 - alpha_bar) z."""
    z = jax.random.normal(jax.random.fold_in(key, 0), shape, jnp.float32)
    if init is None:
        return z
    return jnp.sqrt(alpha_bar) * init + jnp.sqrt(1 - alpha_bar) * z


def starting_image(problem: Problem, init: str | Image) -> Image:
    """The image that `init` names.

    Args:
      problem: the measurement.
      init: "pinv" (the pseudoinverse), "upsample" (the measurement enlarged linearly)
        or an image, (H, W, C).

    Returns:
      An image, (H, W, C).

    Raises:
      ValueError: if `init` is none of these, or does not fit the problem.
    """
    operator, y = problem.operator, problem.y
    if not isinstance(init, str):
        if is_real(init) and jnp.shape(init) != operator.image_shape:
            raise ValueError(
                f"init has shape {jnp.shape(init)}, but the operator's images are "
                f"{operator.image_shape}"
            )
        check_image("init", init)
        return jnp.asarray(init, jnp.float32)
    if init == "pinv":
        return damped_pinv(operator, y, problem.noise_std, 1.0)
    if init == "upsample":
        shape, channels = operator.measurement_shape, operator.image_shape[2]
        if len(jax.tree.leaves(y)) != 1 or len(shape) != 3 or shape[2] != channels:
            raise ValueError(
                "init='upsample' needs a measurement that is a picture of "
                f"{channels} channels; this one has shape {shape}"
            )
        return jax.image.resize(y, operator.image_shape, "linear")
    raise ValueError(f"init must be 'pinv', 'upsample' or an image, got {init!r}")
