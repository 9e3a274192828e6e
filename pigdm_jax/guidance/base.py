"""What a guidance is: one evaluation of the prior, and its prediction pulled to y."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.core.checks import check_choice, check_number
from pigdm_jax.core.text_form import TextForm
from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.guidance.weights import WEIGHTS
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem, measurement_residual


class Denoised(NamedTuple):
    """What the prior makes of a noisy sample.

    Attributes:
      x0: the predicted clean image.
      eps: the predicted noise.
      vjp: v -> v^T d x0 / d x_t, one backward pass through the network.
    """

    x0: Image
    eps: Image
    vjp: Callable[[Image], Image]


def denoise(prior: Prior, x_t: Image, step: Step, clip: bool = False) -> Denoised:
    """Evaluate the prior once: the clean image that the predicted noise implies.

    Args:
      prior: the diffusion model.
      x_t: the noisy sample.
      step: the numbers of this step.
      clip: clip x0 to [-1, 1], with the eps that belongs to it. The clip is outside of
        the vector-Jacobian product, which would vanish where x0 leaves the range.
    """

    def predict(x: Image) -> tuple[Image, Image]:
        eps = prior(x, step.t)
        return (x - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t), eps

    x0, vjp, eps = jax.vjp(predict, x_t, has_aux=True)
    if clip:
        x0 = jnp.clip(x0, -1, 1)
        eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    return Denoised(x0, eps, lambda v: vjp(v)[0])


class Guided(NamedTuple):
    """One evaluation of the prior, before and after guidance.

    Attributes:
      x0: the predicted clean image.
      eps: the predicted noise.
      guided_x0: x0 + k g.
      guided_eps: eps + m g.
      residual: root mean square of y - h(x0).
    """

    x0: Image
    eps: Image
    guided_x0: Image
    guided_eps: Image
    residual: Scalar


class Guidance(TextForm):
    """How a prediction is pulled towards the measurement; a frozen pytree.

    A guidance knows neither eta nor the next noise level's coefficients: a sampler
    makes its own step from the guided pair.

    Attributes:
      needs: what it asks of a problem.
    """

    needs: Needs = Needs()

    @abc.abstractmethod
    def __call__(
        self, prior: Prior, problem: Problem, x_t: Image, step: Step
    ) -> Guided:
        """Evaluate the prior once, and guide its prediction.

        Args:
          prior: the diffusion model.
          problem: what was measured.
          x_t: the noisy sample.
          step: the numbers of this step.
        """


class GradientGuidance(Guidance):
    """Guidance by g = v^T d x0 / d x_t, for some pull v, times a weight.

    Attributes:
      weight: one of `WEIGHTS`, which says what k and m are.
      scale: multiplies k and m.
      data_variance: d in r_t^2 = sigma_t^2 d / (sigma_t^2 + d).
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    weight: str
    scale: Any
    data_variance: Any
    clip: bool

    def __post_init__(self) -> None:
        """Refuse what is known to make no sense."""
        check_choice("weight", self.weight, WEIGHTS)
        check_number("scale", self.scale, 0)
        check_number("data_variance", self.data_variance, 1e-30)

    @abc.abstractmethod
    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient g, which holds the factor r_t^2 of equation 10 of the paper."""

    def __call__(
        self, prior: Prior, problem: Problem, x_t: Image, step: Step
    ) -> Guided:
        """The pair (x0 + k g, eps + m g)."""
        denoised = denoise(prior, x_t, step, self.clip)
        g = self.gradient(problem, denoised, step)
        k, m = WEIGHTS[self.weight](step, self.scale, self.data_variance)
        return Guided(
            denoised.x0,
            denoised.eps,
            denoised.x0 + k * g,
            denoised.eps + m * g,
            measurement_residual(problem, denoised.x0),
        )
