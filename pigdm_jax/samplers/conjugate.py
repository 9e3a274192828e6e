r"""PiGDM by a conjugate integrator: what is linear in the sample, integrated exactly.

With u = x_t / sqrt(alpha_bar) and s = sqrt((1 - alpha_bar) / alpha_bar), guided
sampling without fresh noise is du/ds = eps - p (1 + s^2) / s V + p sqrt(1 + s^2) T: the
pull is V = h+(y) - P (u - s eps) with P = H^T (H H^T + sigma_y^2 / r_t^2 I)^-1 H, the
network's own part T = (d eps / d x)^T V, and p = w ("posterior") or w (1 - alpha_bar)
("adaptive"). For a singular value d, P has the eigenvalue

    gamma(s) = d^2 s^2 / (sigma_y^2 + (d^2 + sigma_y^2) s^2),

so that, with e = eps - lambda s / (1 + s^2) u taken for constant and q = p gamma, each
coefficient obeys a scalar equation

    du/ds = c u - c_y H+ y + (1 - q (1 + s^2)) e + p sqrt(1 + s^2) T,
    c_y = q (1 + s^2) / s,    c = c_y + (1 - q (1 + s^2)) lambda s / (1 + s^2),

whose factor E = exp(-integral of c from s_s to s) is known in closed form. What E is
multiplied by is integrated by Gauss's rule, on nodes that gather where E begins to
fall; inside the program, since sigma_y and w may be traced.

Reference: Pandey, Yang, Mandt, "Fast samplers for inverse problems in iterative
refinement models", NeurIPS 2024 (arXiv 2405.17673): their projection, w and lambda, in
these variables. Like theirs it begins late: from pure noise, few steps of a network
leave the finite range of images (`benchmarks/README.md`).
"""

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

# The first node, as a fraction of the step; s = 0 is replaced by this fraction of s.
SMALLEST = 1e-6


class StepFactors(NamedTuple):
    """Factors of each term in the step from s_t to s_s, one for each singular value.

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
      s_t: the noise before the step, over sqrt(alpha_bar).
      s_s: the noise after it; 0 in the last.
      value: the singular values d; 0 for what is not measured.
      noise_std: sigma_y.
      w: the strength of the guidance.
      lam: lambda, the fraction of eps treated as linear; 1 is exact for N(0, I).
      adaptive: whether p = w (1 - alpha_bar) and not w.
    """
    s_s = jnp.maximum(s_s, SMALLEST * s_t)
    d2, noise = value**2, noise_std**2
    # What is not measured has c = lam s / (1 + s^2); the numbers below then cancel.
    d2 = jnp.where(d2 > 0, d2, 1.0)
    strength = jnp.where(value > 0, w, 0.0)
    kappa = d2 + noise

    def decay(s: AnyArray, difference: AnyArray) -> AnyArray:
        """E at s; `difference` is s - s_s."""
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

    def p(s: AnyArray) -> Any:
        return w * s**2 / (1 + s**2) if adaptive else w

    def remaining(s: AnyArray) -> AnyArray:
        """1 - q (1 + s^2), the part of eps that the guidance does not replace."""
        gamma = d2 * s**2 / (noise + kappa * s**2)
        return jnp.where(value > 0, 1 - p(s) * gamma * (1 + s**2), 1.0)

    # Integrals over E of what multiplies eps, of its linear part, and of T's factor.
    width = s_t - s_s
    nodes, weights = (
        part.reshape(-1, *(1 for _ in jnp.shape(value))) for part in _graded()
    )
    s = s_s + nodes * width
    rest = remaining(s)
    factors = (rest, rest * lam * s / (1 + s**2), p(s) * jnp.sqrt(1 + s**2))
    parts = weights * width * decay(s, nodes * width)
    sums = [jnp.sum(parts * factor, axis=0) for factor in factors]
    kept = decay(s_t, width)
    # The integral of E c is 1 - E, and c_y is c without its part in lambda.
    measured = jnp.where(value > 0, 1 - kept - sums[1], 0.0)
    return StepFactors(kept, measured, -sums[0], -sums[2])


def _graded(count: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1), dense towards 0, and the weights of their integral."""
    x, weights = np.polynomial.legendre.leggauss(count)
    half = -np.log(SMALLEST) / 2
    nodes = np.exp(half * (x - 1))
    weights = weights * half * nodes
    # The rest of the interval, on which the integrand is constant.
    return np.append(SMALLEST / 2, nodes), np.append(SMALLEST, weights)


@pytree_class
class Conjugate(Spaced):
    """Pseudoinverse guidance in closed form, without fresh noise; linear operators.

    Attributes:
      steps: evaluations of the prior (NFE), each with one vector-Jacobian product.
      start: begin at this part of the noise levels, from the pseudoinverse. Of 0.2,
        0.4, 0.6 and 1 the first is the best on photos (`benchmarks/methods.py`).
      spacing: of the noise levels, "uniform" or "quadratic" (denser at low noise).
      weight: of the guidance, "adaptive" or "posterior".
      scale: w, a factor on the weight.
      lam: lambda, 0 to 1, the fraction of eps treated as linear.
    """

    steps: int = static_field(default=10)
    start: float | None = static_field(default=0.2)
    spacing: str = static_field(default="uniform")
    weight: str = static_field(default="adaptive")
    scale: Any = 1.0
    lam: Any = 0.0

    needs = Needs(linear=True, noise="spectrum")

    def __post_init__(self) -> None:
        """Refuse what is known to make no sense."""
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
    """Where no singular values are known: what is measured, all of it alike."""
    operator = problem.operator
    return Spectrum(
        jnp.float32(1), lambda x: operator.pinv(operator.apply(x)), lambda k: k
    )
