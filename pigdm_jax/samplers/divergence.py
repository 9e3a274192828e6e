"""Settings with which a sample leaves the finite numbers."""

from typing import Any

from pigdm_jax.guidance.base import WeightedGuidance
from pigdm_jax.priors.base import Prior
from pigdm_jax.samplers.base import Stepwise

# At a level of 0.08, photos-64 restores; at one of 4e-5 it gives NaN in five steps.
LEAST_ALPHA_BAR = 0.01


def check_converges(prior: Prior, sampler: Any) -> None:
    """Refuse the weight "posterior" where it magnifies a network's errors.

    The conditional score contains J^T / sqrt(alpha_bar), J the Jacobian of x0, and that
    is the network's times 1 / sqrt(alpha_bar). The exact one of a Gaussian prior is as
    small as sqrt(alpha_bar); a network's error is not, and is multiplied by
    1 / alpha_bar, 25000 at the highest noise.

    Raises:
      ValueError: if the sampler begins where alpha_bar is below LEAST_ALPHA_BAR, the
        prior is a network, and x0 is not clipped.
    """
    if not prior.learned:
        return
    guidance = getattr(sampler, "guidance", None)
    diverges = (
        isinstance(sampler, Stepwise)
        and isinstance(guidance, WeightedGuidance)
        and guidance.weight == "posterior"
        and not guidance.clip
    )
    if diverges:
        first = sampler.levels(prior.schedule)[-1]
        if prior.schedule.alpha_bar_at_level[first] < LEAST_ALPHA_BAR:
            raise ValueError(
                'the weight "posterior" diverges with a network at high noise; set '
                "clip=True in the guidance, or start lower, at start=0.5"
            )
    if (inner := getattr(sampler, "inner", None)) is not None:
        check_converges(prior, inner)
