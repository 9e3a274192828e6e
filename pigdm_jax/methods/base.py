"""What a method is: how it begins, and one step from a noise level to the next."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import (
    Denoised,
    Step,
    denoise,
    measurement_residual,
    pinv_residual,
)
from pigdm_jax.operators.base import Operator, Spectrum
from pigdm_jax.prior import Prior
from pigdm_jax.sampler import State, Stepped
from pigdm_jax.types import Image, Measurement, PRNGKey, Scalar


class Problem(NamedTuple):
    """What is to be restored, and the numbers that a user may set.

    Attributes:
      prior: the diffusion model.
      operator: the measurement.
      y: what was measured.
      noise_std: sigma_y, in units of the [-1, 1] image.
      eta: 0 (deterministic) to 1, how much of a step's noise is fresh.
      scale: the method's own strength; 1 is what its paper recommends.
      lam: lambda of the conjugate integrator.
    """

    prior: Prior
    operator: Operator
    y: Measurement
    noise_std: Scalar
    eta: Scalar
    scale: Scalar
    lam: Scalar


def sample_itself(problem: Problem, x: Image, first: Step) -> Image:
    """The state of methods that remember nothing but the noisy sample."""
    del problem, first
    return x


class Method(NamedTuple):
    """A restoration method.

    Attributes:
      step: from the state at one noise level to the next, with the step's own key.
      begin: the state from the noisy sample at the first level.
      image: the restored image in the last state.
      needs: what the operator has to be: "linear", "spectrum" (linear, with known
        singular values), "differentiable", or "" for any.
      noise_needs_spectrum: whether a noise level needs known singular values.
      eta: the default; None where eta plays no part.
      start: the default noise level to begin at, as a share of all; then from the
        pseudoinverse. None begins with pure noise.
    """

    step: Callable[[Problem, State, Step, PRNGKey], Stepped]
    begin: Callable[[Problem, Image, Step], State] = sample_itself
    image: Callable[[State], Image] = lambda state: state
    needs: str = ""
    noise_needs_spectrum: bool = False
    eta: float | None = 1.0
    start: float | None = None


def evaluate(problem: Problem, x_t: Image, step: Step) -> tuple[Denoised, Scalar]:
    """One evaluation of the prior, and the residual of its prediction."""
    denoised = denoise(problem.prior, x_t, step)
    return denoised, measurement_residual(problem.operator, problem.y, denoised.x0)


def stepped(state: Any, x0: Image, residual: Scalar, fitted: Image) -> Stepped:
    """The record of a step in which the measurement moved x0 to `fitted`."""
    return Stepped(state, x0, residual, fitted - x0)


def proximal(problem: Problem, x0: Image, strength: Scalar) -> Image:
    """argmin_x ||y - H x||^2 + sigma_y^2 strength ||x - x0||^2.

    That is x0 + H^T (H H^T + sigma_y^2 strength I)^-1 (y - H x0); for a non-linear
    operator, which has no noise, the projection x0 + h+(y) - h+(h(x0)).
    """
    damping = problem.noise_std**2 * strength
    return x0 + pinv_residual(problem.operator, problem.y, x0, damping)


class Coordinates(NamedTuple):
    """An image in an operator's spectrum, with what is left out of it.

    Attributes:
      measured: the coefficients.
      rest: the image without them.
    """

    measured: Any
    rest: Image


def split(spectrum: Spectrum, x: Image) -> Coordinates:
    """The coefficients of an image, and the part of it that has none."""
    measured = spectrum.analyse(x)
    return Coordinates(measured, x - spectrum.synthesise(measured))


def join(spectrum: Spectrum, parts: Coordinates) -> Image:
    """The image of such coordinates."""
    return spectrum.synthesise(parts.measured) + parts.rest


def noise_in_spectrum(spectrum: Spectrum, noise_std: Scalar) -> jax.Array:
    """sigma_y / s, the noise of each coefficient that H^+ y tells; inf where s is 0."""
    seen = spectrum.values > 0
    return jnp.where(seen, noise_std / jnp.where(seen, spectrum.values, 1), jnp.inf)


def ddim(x0: Image, eps: Image, step: Step, z: Image) -> Image:
    """x_s = sqrt(a_s) x0 + c1 z + c2 eps."""
    return jnp.sqrt(step.a_s) * x0 + step.c1 * z + step.c2 * eps
