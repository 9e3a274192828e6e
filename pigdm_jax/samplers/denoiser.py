"""Denoising by the prior's prediction of the clean image."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from pigdm_jax.core.compilation import tuned_jit
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, PRNGKey
from pigdm_jax.priors.base import Prior, check_symmetries
from pigdm_jax.priors.mirrored import MirroredPrior, check_views
from pigdm_jax.problem import Needs, Problem, measurement_residual, root_mean_square
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.records import Info, OnStep, Trace
from pigdm_jax.samplers.stepping import check_untraced


@pytree_class
class Denoiser(Sampler):
    """The mean of all images that a noisy one may come from, E[x | y].

    A diffusion model is trained to predict it, so one evaluation at the noise level of
    y gives it. By squared error no other image is better, so it is nearer to the truth
    than a sample; it is smoother, too. The key has no effect.

    The mean over several mirror images of y, each mirrored back, has a smaller error
    where all of them are equally likely (`MirroredPrior`).

    Takes a noise level, and an operator that does not change the image.

    References: Tweedie's formula; Ho, Jain, Abbeel 2020, Denoising diffusion
    probabilistic models, equation 15.

    Attributes:
      views: number of mirror images that are averaged: 1, 2 (left-right), 4 (and
        upside down) or 8 (and transposed; for square images). Each takes an evaluation
        of the prior.

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

    views: int = static_field(default=1)

    needs = Needs(orthogonal=True, noise="scalar")
    default_init = "pinv"

    def __post_init__(self) -> None:
        """Check the number of views."""
        check_symmetries("views", self.views)

    @property
    def evaluations(self) -> int:
        """One for each view."""
        return self.views

    def sample(
        self,
        prior: Prior,
        problem: Problem,
        key: PRNGKey,
        init: Image | None = None,
        on_step: OnStep | None = None,
    ) -> tuple[Image, Trace]:
        """Evaluate the prior; see `Sampler.sample`.

        Raises:
          ValueError: if an image that is not square has to be transposed, or the prior
            takes an image besides x_t and has to take it mirrored.
        """
        del key
        check_views(self.views, prior, problem.operator.image_shape)
        if on_step is None:
            return _denoise(self, prior, problem, init)
        check_untraced((prior, problem, init))
        mean, rows = np.zeros(problem.operator.image_shape, np.float32), []
        for view in range(self.views):
            mean, info, row = _next_view(
                self, prior, problem, init, mean, np.int32(view)
            )
            rows.append(row)
            jax.block_until_ready(mean)
            on_step(view + 1, info)
        return mean, jax.tree.map(lambda *row: jnp.stack(row), *rows)


@tuned_jit
def _denoise(
    sampler: Denoiser, prior: Prior, problem: Problem, init: Image | None
) -> tuple[Image, Trace]:
    """The mean over all views, one after another."""

    def body(mean: Image, view: Int[AnyArray, ""]) -> tuple[Image, Trace]:
        mean, _, row = _take_view(sampler, prior, problem, init, mean, view)
        return mean, row

    start = jnp.zeros(problem.operator.image_shape, jnp.float32)
    return jax.lax.scan(body, start, jnp.arange(sampler.views))


def _take_view(
    sampler: Denoiser,
    prior: Prior,
    problem: Problem,
    init: Image | None,
    mean: Image,
    view: Int[AnyArray, ""],
) -> tuple[Image, Info, Trace]:
    """The mean of x0 over one view more than before, and its entry in the trace."""
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
    mirrored = MirroredPrior(prior, view, sampler.views)
    eps = mirrored(noisy / jnp.sqrt(1 + sigma**2), t)
    mean = mean + (noisy - sigma * eps - mean) / (view + 1)
    info = Info(mean, measurement_residual(problem, mean), mean - noisy)
    rms = [root_mean_square(image) for image in (info.x0, info.correction)]
    return mean, info, Trace(t, info.residual, *rms)


_next_view = tuned_jit(_take_view)
