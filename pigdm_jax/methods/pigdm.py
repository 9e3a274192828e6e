"""PiGDM: the paper's sampler, DDIM with the weighted gradient added to every step.

Reference: Song, Vahdat, Mardani, Kautz, "Pseudoinverse-guided diffusion models for
inverse problems", ICLR 2023, algorithm 1.
"""

import jax

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, ddim
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey


def pigdm(rule: Rule) -> Method:
    """The method for a way to guide."""

    def advance(problem: Problem, x_t: Image, step: Step, key: PRNGKey) -> Stepped:
        guided = rule.evaluate(problem, x_t, step)
        correction = rule.weight(step, problem.scale) * guided.gradient
        z = jax.random.normal(key, x_t.shape)
        x_s = ddim(guided.x0, guided.eps, step, z) + correction
        return Stepped(x_s, guided.x0, guided.residual, correction)

    return Method(advance)
