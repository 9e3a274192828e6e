"""How PiGDM guides, whichever sampler takes the steps."""

from typing import NamedTuple

from pigdm_jax.guidance import Guidance, Guided, Step, Weight, guide
from pigdm_jax.methods.base import Problem
from pigdm_jax.types import Image


class Rule(NamedTuple):
    """A guidance and its weight.

    Attributes:
      guidance: how the residual becomes a gradient.
      weight: what the gradient is multiplied by in a DDIM step.
      clip: whether x0 is clipped to [-1, 1], outside of the gradient.
    """

    guidance: Guidance
    weight: Weight
    clip: bool = False

    def evaluate(self, problem: Problem, x_t: Image, step: Step) -> Guided:
        """One evaluation of the prior, with its gradient."""
        return guide(
            problem.prior,
            problem.operator,
            problem.y,
            x_t,
            step,
            problem.noise_std**2,
            self.guidance,
            self.clip,
        )
