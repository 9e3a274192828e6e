"""Denoising by the prior's own prediction."""

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.checks import check_count
from pigdm_jax.core.compilation import tuned_jit, typed_jit
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Needs, Problem, measurement_residual, root_mean_square
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.records import Info, OnStep, Trace

# Standard deviations beyond a limit within which a clipped value is drawn.
FARTHEST = 6.0


@pytree_class
class Denoiser(Sampler):
    """The mean of all images that a noisy one may come from, E[x | y].

    A diffusion model is trained to predict it, so one evaluation at the noise level of
    y gives it. By squared error no other image is better, so it is nearer to the truth
    than a sample; it is smoother, too.

    The noise of a file is cut off at white and black, which the prior does not know and
    which darkens white and brightens black. So values of exactly -1 and 1 are drawn
    anew for each evaluation but the first, as what the noise had been beyond the limit,

        y ~ N(x0, sigma_y^2), given that it lies beyond,

    where x0 is the prediction before. A y without such values is left alone.

    Takes a noise level, and an operator that does not change the image.

    Attributes:
      steps: number of evaluations of the prior.

    References: Tweedie's formula; Ho, Jain, Abbeel 2020, Denoising diffusion
    probabilistic models, equation 15. The values are stochastic imputations: Tanner and
    Wong 1987.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> y = np.full((4, 4, 1), 0.8, np.float32)
      >>> problem = pj.Problem(pj.operators.identity((4, 4, 1)), y, noise_std=1.0)
      >>> sampler = pj.samplers.Denoiser(steps=1)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(image.mean()), 3)
      0.4
    """

    steps: int = static_field(default=3)

    needs = Needs(orthogonal=True, noise="scalar")
    default_init = "pinv"

    def __post_init__(self) -> None:
        """Check the number of evaluations."""
        check_count("steps", self.steps)

    @property
    def evaluations(self) -> int:
        """Number of evaluations of the prior (NFE)."""
        return self.steps

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Evaluate the prior; see `Sampler.sample`."""
        noisy = _noisy_image(problem, init)
        x0, rows = noisy, []
        for k in range(self.steps):
            y = noisy if k == 0 else _draw(problem, noisy, x0, key, np.int32(k))
            x0, info, row = _denoise(prior, problem, y)
            rows.append(row)
            if on_step is not None:
                on_step(k + 1, info)
        return x0, jax.tree.map(lambda *row: jnp.stack(row), *rows)


@typed_jit
def _noisy_image(problem: Problem, init: Image | None) -> Image:
    """The measurement as an image; what fills up a size that the prior takes: init."""
    operator = problem.operator
    noisy = operator.pinv(problem.y)
    if init is None:
        return noisy
    measured = operator.pinv(operator.apply(jnp.ones(operator.image_shape)))
    # The damped pseudoinverse of an orthogonal operator is y, divided by this.
    damped = 1 + problem.sigma**2
    return noisy + (1 - measured) * damped * init


@typed_jit
def _draw(
    problem: Problem, noisy: Image, x0: Image, key: PRNGKey, index: AnyArray
) -> Image:
    """Values at the limits as they may have been before they were clipped."""
    sigma = jnp.maximum(problem.sigma, 1e-6)
    side = jnp.sign(noisy)
    mean = jnp.clip(side * x0, -1, 1)
    least = jnp.minimum((1 - mean) / sigma, FARTHEST - 1)
    own = jax.random.fold_in(key, index)
    excess = jax.random.truncated_normal(own, least, FARTHEST, noisy.shape)
    return jnp.where(jnp.abs(noisy) == 1, side * (mean + sigma * excess), noisy)


@tuned_jit
def _denoise(prior: Prior, problem: Problem, y: Image) -> tuple[Image, Info, Trace]:
    """The prediction of x0 from y, as a sample at y's noise level."""
    sigma = problem.sigma
    # The step whose noise is that of y, after scaling: between two of the network's.
    levels = jnp.asarray(prior.schedule.sigma, jnp.float32)
    steps = jnp.arange(len(levels), dtype=jnp.float32)
    t = jnp.interp(jnp.log(jnp.maximum(sigma, 1e-6)), jnp.log(levels), steps)
    x0 = y - sigma * prior(y / jnp.sqrt(1 + sigma**2), t)
    info = Info(x0, measurement_residual(problem, x0), x0 - y)
    norms = [root_mean_square(image) for image in (x0, info.correction)]
    return x0, info, Trace(t, info.residual, *norms)
