"""Denoising by one evaluation of the prior."""

import jax.numpy as jnp

from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Needs, Problem, measurement_residual, root_mean_square
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.records import Info, OnStep, Trace


@pytree_class
class Denoiser(Sampler):
    """The mean of all images that a noisy one may come from, E[x | y].

    A diffusion model is trained to predict it, so one evaluation at the noise level of
    y gives it. By squared error no other image is better, so it is nearer to the truth
    than a sample; it is smoother, too. The key has no effect.

    Takes a noise level, and an operator that does not change the image.

    References: Tweedie's formula; Ho, Jain, Abbeel 2020, Denoising diffusion
    probabilistic models, equation 15.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> y = np.full((4, 4, 1), 0.8, np.float32)
      >>> problem = pj.Problem(pj.operators.identity((4, 4, 1)), y, noise_std=1.0)
      >>> sampler = pj.samplers.Denoiser()
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(image.mean()), 3)
      0.4
    """

    needs = Needs(orthogonal=True, noise="scalar")
    default_init = "pinv"

    @property
    def evaluations(self) -> int:
        """One."""
        return 1

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Evaluate the prior; see `Sampler.sample`."""
        del key
        image, info, trace = _denoise(prior, problem, init)
        if on_step is not None:
            on_step(1, info)
        return image, trace


@tuned_jit
def _denoise(
    prior: Prior, problem: Problem, init: Image | None
) -> tuple[Image, Info, Trace]:
    """The prediction of x0 from y, as a sample at y's noise level."""
    operator, sigma = problem.operator, problem.sigma
    noisy = operator.pinv(problem.y)
    if init is not None:
        # Pixels that fill up a size that the prior takes. `init` is the damped
        # pseudoinverse, which for an orthogonal operator is y divided by this.
        damped = 1 + sigma**2
        measured = operator.pinv(
            operator.apply(jnp.ones(operator.image_shape, jnp.float32))
        )
        noisy = noisy + (1 - measured) * damped * init
    # The step whose noise is that of y, after scaling: between two of the network's.
    levels = jnp.asarray(prior.schedule.sigma, jnp.float32)
    steps = jnp.arange(len(levels), dtype=jnp.float32)
    t = jnp.interp(jnp.log(jnp.maximum(sigma, 1e-6)), jnp.log(levels), steps)
    x0 = noisy - sigma * prior(noisy / jnp.sqrt(1 + sigma**2), t)
    info = Info(x0, measurement_residual(problem, x0), x0 - noisy)
    norms = [root_mean_square(image) for image in (x0, info.correction)]
    return x0, info, Trace(*(value[None] for value in (t, info.residual, *norms)))
