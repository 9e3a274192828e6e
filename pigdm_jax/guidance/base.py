"""What a guidance is, and the one evaluation of the prior that it is based on."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.core.arrays import is_real
from pigdm_jax.core.checks import check_choice, check_number, given
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.text_form import TextForm
from pigdm_jax.core.types import Image, Scalar
from pigdm_jax.guidance.weights import WEIGHTS
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem, measurement_residual


class Denoised(NamedTuple):
    """The prior's prediction for a noisy sample.

    Attributes:
      x0: the predicted clean image, (H, W, C).
      eps: the predicted noise, (H, W, C).
      vjp: v -> v^T d x0 / d x_t for an image v, one backward pass through the network.

    Examples:
      >>> import pigdm_jax as pj
      >>> pj.guidance.Denoised._fields
      ('x0', 'eps', 'vjp')
    """

    x0: Image
    eps: Image
    vjp: Callable[[Image], Image]


def denoise(prior: Prior, x_t: Image, step: Step, clip: bool = False) -> Denoised:
    """Evaluate the prior once: x0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t).

    Args:
      prior: the diffusion model.
      x_t: the noisy sample, (H, W, C).
      step: the coefficients of this step.
      clip: clip x0 to [-1, 1] and return the eps that corresponds to the clipped x0.
        The vector-Jacobian product is that of the unclipped x0, because the clipped
        one's vanishes outside of the range.
    """

    def predict(x: Image) -> tuple[Image, Image]:
        eps = prior(x, step.t)
        if not is_real(eps) or jnp.shape(eps) != x.shape:
            raise ValueError(
                f"a prior must return eps of its image's shape {x.shape}, got "
                f"{given(eps)}"
            )
        return (x - jnp.sqrt(step.b_t) * eps) / jnp.sqrt(step.a_t), eps

    x0, vjp, eps = jax.vjp(predict, x_t, has_aux=True)
    if clip:
        x0 = jnp.clip(x0, -1, 1)
        eps = (x_t - jnp.sqrt(step.a_t) * x0) / jnp.sqrt(step.b_t)
    return Denoised(x0, eps, lambda v: vjp(v)[0])


class Guided(NamedTuple):
    """The prior's prediction before and after guidance.

    Attributes:
      x0: the predicted clean image, (H, W, C).
      eps: the predicted noise, (H, W, C).
      guided_x0: the guided clean image, x0 + k g.
      guided_eps: the guided noise, eps + m g.
      residual: root mean square of y - h(x0), in the measurement's units.

    Examples:
      >>> import pigdm_jax as pj
      >>> pj.Guided._fields
      ('x0', 'eps', 'guided_x0', 'guided_eps', 'residual')
    """

    x0: Image
    eps: Image
    guided_x0: Image
    guided_eps: Image
    residual: Scalar


class Guidance(TextForm):
    """A rule that moves the prior's prediction towards the measurement.

    A guidance is a frozen pytree, called as
    `guidance(prior, problem, x_t, step) -> Guided`. It depends neither on eta nor on
    the coefficients of the next noise level: the sampler makes its own step from the
    guided pair, so every guidance works with every guided sampler. To write one,
    inherit and implement `__call__`, or inherit from `GradientGuidance` and implement
    `gradient`.

    Attributes:
      needs: what it requires of a problem.

    Examples:
      >>> import numpy as np
      >>> import pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> x_t = np.zeros((4, 4, 1), np.float32)
      >>> step = pj.priors.schedule.step_at(prior.schedule, 500)
      >>> guided = pj.guidance.Pseudoinverse()(prior, problem, x_t, step)
      >>> guided.x0.shape, round(float(guided.residual), 3)
      ((4, 4, 1), 1.0)
    """

    needs: Needs = Needs()

    @abc.abstractmethod
    def __call__(
        self, prior: Prior, problem: Problem, x_t: Image, step: Step
    ) -> Guided:
        """Evaluate the prior once and guide its prediction.

        Args:
          prior: the diffusion model.
          problem: the measurement.
          x_t: the noisy sample, (H, W, C).
          step: the coefficients of this step.
        """


class GradientGuidance(Guidance):
    """Guidance by a gradient g: guided_x0 = x0 + k g, guided_eps = eps + m g.

    The gradient is g = v^T d x0 / d x_t, one vector-Jacobian product for an image v
    that each subclass chooses. The weights k and m are those of
    `pigdm_jax.guidance.weights`; in DDIM's step g then has the weight
    w = sqrt(a_s) k + c2 m. Subclasses give these attributes as fields or constants.

    Attributes:
      weight: a name in `pigdm_jax.guidance.weights.WEIGHTS`.
      scale: at least 0; multiplies k and m.
      data_variance: d > 0 in r_t^2 = sigma_t^2 d / (sigma_t^2 + d).
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.

    Examples:
      >>> import pigdm_jax as pj
      >>> pj.guidance.Moment().weight, pj.guidance.Pseudoinverse().weight
      ('posterior', 'adaptive')
    """

    weight: str
    scale: Any
    data_variance: Any
    clip: bool

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        check_choice("weight", self.weight, WEIGHTS)
        check_number("scale", self.scale, 0)
        check_number("data_variance", self.data_variance, 1e-30)

    @abc.abstractmethod
    def gradient(self, problem: Problem, denoised: Denoised, step: Step) -> Image:
        """The gradient g, which includes the factor r_t^2 of the paper's equation 10.

        Args:
          problem: the measurement.
          denoised: the prior's prediction, with its vector-Jacobian product.
          step: the coefficients of this step.
        """

    def __call__(
        self, prior: Prior, problem: Problem, x_t: Image, step: Step
    ) -> Guided:
        """The guided pair (x0 + k g, eps + m g); see `Guidance.__call__`."""
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


@pytree_class
class WeightedGuidance(GradientGuidance):
    """A `GradientGuidance` whose weight users choose.

    Attributes:
      weight: "adaptive" (the paper's), "algorithm1" (its Algorithm 1 as printed), "vdm"
        (of Ho et al. 2022) or "posterior" (the conditional score, which diverges with a
        network at high noise unless `clip` is set; `restore` refuses it then).
      scale: at least 0; multiplies k and m. w_r of "vdm".
      data_variance: d > 0 in r_t^2 = sigma_t^2 d / (sigma_t^2 + d).
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.

    Examples:
      Guidance with v = h+(y) - x0, a pull towards the pseudoinverse:

      >>> import jax, numpy as np, pigdm_jax as pj
      >>> @pj.pytree_class
      ... class TowardsPinv(pj.guidance.WeightedGuidance):
      ...     def gradient(self, problem, denoised, step):
      ...         return denoised.vjp(problem.operator.pinv(problem.y) - denoised.x0)
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.DDIM(steps=3, guidance=TowardsPinv(scale=0.5))
      >>> pj.restore(prior, problem, jax.random.key(0), sampler).shape
      (4, 4, 1)
    """

    weight: str = static_field(default="adaptive")
    scale: Any = 1.0
    data_variance: Any = 1.0
    clip: bool = static_field(default=False)
