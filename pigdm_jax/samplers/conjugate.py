"""PiGDM by a conjugate integrator: the part linear in the sample is integrated exactly.

With u = x_t / sqrt(alpha_bar) and s = sqrt((1 - alpha_bar) / alpha_bar), guided
sampling without fresh noise solves the differential equation

    du/ds = eps - p (1 + s^2) / s V + p sqrt(1 + s^2) T

where V = h+(y) - P (u - s eps) is the image v of `Pseudoinverse`, with
P = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1 H; T = (d eps / d x)^T V contains the network's
Jacobian; and p = w ("posterior") or w (1 - alpha_bar) ("adaptive"). For a singular
value d of H, P has the eigenvalue

    gamma(s) = d^2 s^2 / (sigma_y^2 + (d^2 + sigma_y^2) s^2).

With q = p gamma, and with e = eps - lambda s / (1 + s^2) u and T treated as constant
during a step, each coefficient solves a scalar equation

    du/ds = c u - c_y H+ y + (1 - q (1 + s^2)) e + p sqrt(1 + s^2) T
    c_y = q (1 + s^2) / s,    c = c_y + (1 - q (1 + s^2)) lambda s / (1 + s^2).

Its integrating factor E(s) = exp(-integral of c from s_s to s) has a closed form. The
integrals of E times the other terms are computed by Gauss-Legendre quadrature, with
nodes that are denser near s_s, where E falls fastest. This happens inside the compiled
program, because sigma_y and w may be traced.

Reference: Pandey, Yang, Mandt, "Fast samplers for inverse problems in iterative
refinement models", NeurIPS 2024 (arXiv 2405.17673): their projection, w and lambda, in
these variables.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pigdm_jax.core.checks import check_choice, check_number
from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import AnyArray, Image, Number, PRNGKey, Scalar
from pigdm_jax.guidance.pseudoinverse import pull
from pigdm_jax.operators.base import Spectrum
from pigdm_jax.priors.base import Prior
from pigdm_jax.priors.schedule import Step
from pigdm_jax.problem import Needs, Problem
from pigdm_jax.samplers.base import Spaced
from pigdm_jax.samplers.ddim_step import evaluate
from pigdm_jax.samplers.records import Info
from pigdm_jax.samplers.spectral import Coordinates, join, split

# The first node, as a fraction of the step. Also s_s / s_t in the last step, where s_s
# would be 0.
SMALLEST = 1e-6


class StepFactors(NamedTuple):
    """The factor of each term in the step from s_t to s_s, for each singular value.

    Attributes:
      sample: of u.
      measured: of H+ y.
      eps: of e.
      network: of T.
    """

    sample: AnyArray
    measured: AnyArray
    eps: AnyArray
    network: AnyArray


def step_factors(
    s_t: Scalar,
    s_s: Scalar,
    value: AnyArray,
    noise_std: Number,
    w: Number,
    lam: Number,
    adaptive: bool,
) -> StepFactors:
    """Integrate the equation of each coefficient over one step.

    Args:
      s_t: s before the step.
      s_s: s after it; 0 in the last step.
      value: the singular values d; 0 for coefficients that are not measured.
      noise_std: sigma_y.
      w: strength of the guidance.
      lam: lambda, the fraction of eps treated as linear; 1 is exact for N(0, I).
      adaptive: whether p = w (1 - alpha_bar); else p = w.
    """
    s_s = jnp.maximum(s_s, SMALLEST * s_t)
    # Without a measurement c = lam s / (1 + s^2); d = 1 only avoids a division by 0.
    d2, noise = jnp.where(value > 0, value**2, 1.0), noise_std**2
    strength = jnp.where(value > 0, w, 0.0)
    factor = partial(_integrating_factor, s_s, d2, noise, strength, lam, adaptive)
    width = s_t - s_s
    nodes, weights = (
        part.astype(np.float32).reshape(-1, *(1 for _ in jnp.shape(value)))
        for part in _graded_rule()
    )
    s = s_s + nodes * width
    p: Any = w * s**2 / (1 + s**2) if adaptive else w
    gamma = d2 * s**2 / (noise + (d2 + noise) * s**2)
    # 1 - q (1 + s^2), the part of eps that the guidance does not replace.
    rest = jnp.where(value > 0, 1 - p * gamma * (1 + s**2), 1.0)
    # The factors of e, of the part of eps that is linear in u, and of T.
    terms = (rest, rest * lam * s / (1 + s**2), p * jnp.sqrt(1 + s**2))
    parts = weights * width * factor(s, nodes * width)
    sums = [jnp.sum(parts * term, axis=0) for term in terms]
    kept = factor(s_t, width)
    # The integral of E c is 1 - E, and c_y is c minus its term in lambda.
    measured = jnp.where(value > 0, 1 - kept - sums[1], 0.0)
    return StepFactors(kept, measured, -sums[0], -sums[2])


def _integrating_factor(
    s_s: Scalar,
    d2: AnyArray,
    noise: Number,
    strength: AnyArray,
    lam: Number,
    adaptive: bool,
    s: AnyArray,
    difference: AnyArray,
) -> AnyArray:
    """E at s; `difference` is s - s_s, given to avoid cancellation."""
    kappa = d2 + noise
    wide = difference * (s + s_s)
    growth = jnp.log1p(wide / (1 + s_s**2))
    mixed = jnp.log1p(kappa * wide / (noise + kappa * s_s**2))
    # Integrals over v = s^2 of v / (noise + kappa v), and of p times it.
    first = wide / kappa - noise / kappa**2 * mixed
    if adaptive:
        squared = d2 * wide / kappa - growth + noise**2 / kappa**2 * mixed
        measured = d2 * first - lam * squared
    else:
        measured = d2 * (first + mixed / kappa) - lam * d2 * first
    return jnp.exp(-0.5 * (strength * measured + lam * growth))


def _graded_rule(count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1), dense near 0, and the weights of a quadrature on them."""
    x, weights = np.polynomial.legendre.leggauss(count)
    half = -np.log(SMALLEST) / 2
    nodes = np.exp(half * (x - 1))
    weights = weights * half * nodes
    # The interval from 0 to SMALLEST, on which the integrand is constant.
    return np.append(SMALLEST / 2, nodes), np.append(SMALLEST, weights)


@pytree_class
class Conjugate(Spaced):
    """Pseudoinverse guidance by a conjugate integrator; linear operators.

    Each step integrates the guided differential equation

        du/ds = eps - p (1 + s^2) / s V + p sqrt(1 + s^2) T

    for u = x / sqrt(a), from s_t = sqrt((1 - a_t) / a_t) to s_s. The terms linear in u
    are integrated exactly, in the operator's spectrum; the others are constant during
    the step. The formulas are in the module's docstring. No fresh noise is added, and
    no other guidance can be used. It starts late by default: from pure noise, with few
    steps of a network, the sample diverges (`benchmarks/README.md`).

    Attributes:
      steps: number of steps, each with one evaluation of the prior (NFE) and one
        vector-Jacobian product.
      start: fraction of the noise levels to start at, in (0, 1], from the
        pseudoinverse. Of 0.2, 0.4, 0.6 and 1 the first is best on photos
        (`benchmarks/methods.py`). None starts from pure noise.
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      weight: of the guidance, "adaptive" or "posterior".
      scale: w, a factor of the weight, at least 0.
      lam: lambda, the fraction of eps treated as linear in u, 0 to 1.

    Reference: Pandey, Yang, Mandt, "Fast samplers for inverse problems in iterative
    refinement models", NeurIPS 2024.

    Examples:
      >>> import jax, numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> sampler = pj.samplers.Conjugate(steps=5)
      >>> image = pj.restore(prior, problem, jax.random.key(0), sampler)
      >>> round(float(pj.measurement_residual(problem, image)), 4)
      0.0
    """

    same_steps = True

    steps: int = static_field(default=10)
    start: float | None = static_field(default=0.2)
    spacing: str = static_field(default="uniform")
    weight: str = static_field(default="adaptive")
    scale: Any = 1.0
    lam: Any = 0.0

    needs = Needs(linear=True, noise="spectrum")

    def __post_init__(self) -> None:
        """Check the ranges of the fields."""
        super().__post_init__()
        check_choice("conjugate's weight", self.weight, ("adaptive", "posterior"))
        check_number("lam", self.lam, 0, 1)

    def step(
        self, prior: Prior, problem: Problem, state: Image, step: Step, key: PRNGKey
    ) -> tuple[Image, Info]:
        """Integrate the guided equation from s_t to s_s."""
        del key
        operator, lam = problem.operator, self.lam
        denoised, residual = evaluate(prior, problem, state, step)
        v = pull(problem, denoised.x0, step)
        root_t, sigma = jnp.sqrt(step.a_t), jnp.sqrt(step.b_t)
        s_t, s_s = sigma / root_t, jnp.sqrt(step.b_s / step.a_s)
        network = (v - root_t * denoised.vjp(v)) / sigma
        spectrum = operator.spectrum or _projection(problem)
        u, e, t = (
            split(spectrum, term)
            for term in (state / root_t, denoised.eps - lam * sigma * state, network)
        )
        known = spectrum.analyse(operator.pinv(problem.y))
        numbers = (problem.sigma, self.scale, lam, self.weight == "adaptive")
        seen = step_factors(s_t, s_s, spectrum.values, *numbers)
        unseen = step_factors(s_t, s_s, jnp.float32(0), *numbers)
        moved = Coordinates(
            seen.sample * u.measured
            + seen.measured * known
            + seen.eps * e.measured
            + seen.network * t.measured,
            unseen.sample * u.rest + unseen.eps * e.rest + unseen.network * t.rest,
        )
        x_s = jnp.sqrt(step.a_s) * join(spectrum, moved)
        free = jnp.sqrt(step.a_s) * (state / root_t + (s_s - s_t) * denoised.eps)
        return x_s, Info(denoised.x0, residual, x_s - free)


def _projection(problem: Problem) -> Spectrum:
    """The row space as one singular value of 1, where none are known."""
    operator = problem.operator
    return Spectrum(
        jnp.float32(1), lambda x: operator.pinv(operator.apply(x)), lambda k: k
    )
