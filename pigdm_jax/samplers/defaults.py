"""The only place that chooses a sampler for a problem."""

from pigdm_jax.priors.base import Prior
from pigdm_jax.problem import Problem, can_relax
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.ddnm import DDNM
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.relaxed import Relaxed

# Of a quantised measurement's pseudoinverse all but the finest details are right.
# Chosen on eight BSDS500 photos at JPEG quality 10, among 0.2, 0.4 and 1.
START = 0.4


def default(prior: Prior, problem: Problem, steps: int | None = None) -> Sampler:
    """The sampler that `restore` and the command use if none is given.

    It is `Fitted`, with two exceptions. Denoising, a noise level and an operator
    without a null space in which guidance could act: `DDNM`, with the eta that was best
    on photos. A quantised measurement: `Relaxed`.

    Args:
      prior: the diffusion model.
      problem: the measurement.
      steps: number of evaluations of the prior; None is 10.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> str(pj.samplers.default(prior, problem, steps=20))
      'fitted:steps=20'
    """
    del prior
    steps = 10 if steps is None else steps
    noisy = problem.noise_std is not None and not problem.noise_per_value
    if noisy and problem.operator.orthogonal:
        return DDNM(steps=steps, spacing="quadratic", eta=0.6)
    if can_relax(problem):
        return Relaxed(Fitted(steps=steps, start=START))
    return Fitted(steps=steps)
