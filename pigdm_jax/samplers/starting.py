"""The image or noise that a sampler starts from."""

import jax
import jax.numpy as jnp

from pigdm_jax.core.types import Image, ImageShape, Number, PRNGKey
from pigdm_jax.operators.solve import damped_pinv
from pigdm_jax.problem import Problem


def starting_sample(
    key: PRNGKey, shape: ImageShape, alpha_bar: Number, init: Image | None
) -> Image:
    """Pure noise, or an image with the noise of its level added (CCDF, appendix B)."""
    z = jax.random.normal(jax.random.fold_in(key, 0), shape)
    if init is None:
        return z
    return jnp.sqrt(alpha_bar) * init + jnp.sqrt(1 - alpha_bar) * z


def starting_image(problem: Problem, init: str | Image) -> Image:
    """The image that `init` stands for.

    Args:
      problem: what was measured.
      init: "pinv", "upsample" (the measurement enlarged linearly) or an image.

    Raises:
      ValueError: if it is none of these, or does not suit the problem.
    """
    operator, y = problem.operator, problem.y
    if not isinstance(init, str):
        if jnp.shape(init) != operator.image_shape:
            raise ValueError(
                f"init has shape {jnp.shape(init)}, the operator's images are "
                f"{operator.image_shape}"
            )
        return jnp.asarray(init, jnp.float32)
    if init == "pinv":
        return damped_pinv(operator, y, problem.noise_std, 1.0)
    if init == "upsample":
        shape, channels = operator.measurement_shape, operator.image_shape[2]
        if len(jax.tree.leaves(y)) != 1 or len(shape) != 3 or shape[2] != channels:
            raise ValueError(
                "init='upsample' needs a measurement that is a picture with as many "
                f"channels as the image; this one has shape {shape}"
            )
        return jax.image.resize(y, operator.image_shape, "linear")
    raise ValueError(f"init is 'pinv', 'upsample' or an image, got {init!r}")
