"""PiGDM for few evaluations: guided, then fitted to the measurement, then noised anew.

The guidance moves what the operator hides; what it shows need not wait for the guidance
to arrive. So the guided prediction x0 + w g is set to the measurement as DDNM+ does it,
each singular value's coefficient by as much as the level's noise covers (without noise:
by its projection), and sqrt(alpha_bar) of that is given the noise of the next level. At
eta = 1, the default, all of it is fresh, which forgets the errors of wide steps.

Reference: the guidance of Song et al., ICLR 2023, in the step of Wang, Yu, Zhang,
"Zero-shot image restoration using denoising diffusion null-space model", ICLR 2023.
"""

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, stepped
from pigdm_jax.methods.ddnm import fit_and_noise
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey

# Of the guidance where a linear operator's y has no noise: the best of 1, 1.5, 2 and 3
# for inpainting and deblurring of four Kodak photos. With noise, and for JPEG, 1 is.
NOISELESS = 2.0


def fitted(rule: Rule) -> Method:
    """The method for a way to guide."""

    def advance(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
        guided = rule.evaluate(problem, x_t, step)
        # The weight is for the sample at s; in its prediction it is over sqrt(a_s).
        strong = problem.operator.linear & (problem.noise_std == 0)
        scale = problem.scale * jnp.where(strong, NOISELESS, 1.0)
        correction = rule.weight(step, scale) / jnp.sqrt(step.a_s)
        x0 = guided.x0 + correction * guided.gradient
        z = jax.random.normal(key, x_t.shape)
        x_s, x0 = fit_and_noise(problem, x0, guided.eps, z, step)
        return stepped(x_s, guided.x0, guided.residual, x0)

    return Method(advance)
