"""The only place that chooses a sampler for a problem."""

from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.ddnm import DDNM
from pigdm_jax.samplers.fitted import Fitted


def default(prior: Prior, problem: Problem, steps: int | None = None) -> Sampler:
    """The sampler that `restore`, the command and the folder job use if none is given.

    It is `Fitted` but for denoising, where nothing is hidden that guidance could find:
    there DDNM at its steps and the eta that was the best on photos.

    Args:
      prior: the diffusion model.
      problem: what was measured.
      steps: evaluations of the prior; 10 if not given.
    """
    del prior
    steps = 10 if steps is None else steps
    noisy = problem.noise_std is not None and not problem.noise_per_value
    if noisy and problem.operator.orthogonal:
        return DDNM(steps=steps, spacing="quadratic", eta=0.6)
    return Fitted(steps=steps)
