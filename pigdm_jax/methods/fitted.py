"""PiGDM for few evaluations: guided, then fitted to the measurement, then noised anew.

The guidance moves what the operator hides; what it shows need not wait for the guidance
to arrive. So the prediction, x0 + w g in what is hidden, is set to the measurement as
DDNM+ does it, each singular value's coefficient by as much as the level's noise covers
(without noise: by its projection), and sqrt(alpha_bar) of that is given the noise of
the next level. At eta = 1, the default, all noise of what is hidden is fresh, which
forgets the errors of wide steps.

Reference: the guidance of Song et al., ICLR 2023, in the step of Wang, Yu, Zhang,
"Zero-shot image restoration using denoising diffusion null-space model", ICLR 2023.
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, join, split, stepped
from pigdm_jax.methods.ddnm import fit_and_noise
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey

# How strongly linear operators are guided, and the eta of what they show with noise:
# chosen on four Kodak photos, of 1, 1.5, 2 and 3 and of 0.4, 0.6, 0.8 and 1.
STRENGTH = 2.0
SEEN_ETA = 0.6


def fitted(rule: Rule) -> Method:
    """The method for a way to guide."""

    def advance(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
        guided = rule.evaluate(problem, x_t, step)
        # The weight is for the sample at s; in its prediction it is over sqrt(a_s).
        weight = rule.weight(step, problem.scale) / jnp.sqrt(step.a_s)
        x0 = guided.x0 + _hidden(problem, weight * guided.gradient)
        z = jax.random.normal(key, x_t.shape)
        seen_eta = SEEN_ETA * problem.eta
        x_s, x0 = fit_and_noise(problem, x0, guided.eps, z, step, seen_eta)
        return stepped(x_s, guided.x0, guided.residual, x0)

    return Method(advance)


def _hidden(problem: Problem, correction: Image) -> Image:
    """What of a correction is for the operator's null space, at its strength."""
    operator = problem.operator
    if not operator.linear:
        return correction
    if operator.spectrum is None:
        # A noise-free fit replaces what is shown. With noise nothing tells it from what
        # is hidden, and none is better than all.
        return jnp.where(problem.noise_std > 0, 0.0, STRENGTH) * correction
    parts = split(operator.spectrum, correction)
    unseen = jnp.where(operator.spectrum.values > 0, 0.0, parts.measured)
    return STRENGTH * join(operator.spectrum, parts._replace(measured=unseen))
