"""PiGDM by second-order steps: the guided prediction is extrapolated from the last two.

DDIM holds x0 constant over a step. Here it is linear in lambda = log(alpha / sigma), as
the step before shows it, which costs no further evaluation.

Reference: Lu et al., "DPM-Solver++", 2022, algorithm 2 (2M), for eta = 0, and its SDE
form for eta = 1; here with the guidance in the prediction.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pigdm_jax.guidance import Step
from pigdm_jax.methods.base import Method, Problem, ddim
from pigdm_jax.methods.rule import Rule
from pigdm_jax.sampler import Stepped
from pigdm_jax.types import Image, PRNGKey, Scalar


class Memory(NamedTuple):
    """The sample, and the step before.

    Attributes:
      x: the noisy sample.
      x0: the guided prediction of the step before.
      width: its width in lambda; 0 before the first step.
    """

    x: Image
    x0: Image
    width: Scalar


def multistep(rule: Rule) -> Method:
    """The method for a way to guide."""

    def begin(problem: Problem, x: Image, first: Step) -> Memory:
        del problem, first
        return Memory(x, jnp.zeros_like(x), jnp.float32(0))

    def advance(problem: Problem, state: Memory, step: Step, key: PRNGKey) -> Stepped:
        guided = rule.evaluate(problem, state.x, step)
        correction = rule.weight(step, problem.scale) * guided.gradient
        # What x0 would have to be for DDIM to make the guided step without guidance.
        share = jnp.sqrt(step.a_s) - step.c2 * jnp.sqrt(step.a_t / step.b_t)
        x0 = guided.x0 + correction / share
        # To the clean image lambda is infinite, and nothing is left to extrapolate to.
        last = step.b_s <= 0
        b_s = jnp.where(last, 1.0, step.b_s)
        width = 0.5 * (jnp.log(step.a_s / b_s) - jnp.log(step.a_t / step.b_t))
        slope = jnp.where(
            last | (state.width <= 0),
            0.0,
            width / jnp.where(state.width > 0, 2 * state.width, 1),
        )
        ahead = x0 + slope * (x0 - state.x0)
        eps = (state.x - jnp.sqrt(step.a_t) * ahead) / jnp.sqrt(step.b_t)
        x_s = ddim(ahead, eps, step, jax.random.normal(key, x0.shape))
        memory = Memory(x_s, x0, width)
        return Stepped(memory, guided.x0, guided.residual, correction)

    return Method(advance, begin, image=lambda memory: memory.x)
