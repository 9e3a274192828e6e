"""The only place that chooses a sampler for a problem."""

from pigdm_jax.core.checks import check_choice, given
from pigdm_jax.operators.inpainting import Inpaint
from pigdm_jax.priors.base import Prior, check_prior
from pigdm_jax.problem import Problem, can_relax
from pigdm_jax.samplers.base import Sampler
from pigdm_jax.samplers.coarse_to_fine import CoarseToFine, takes_small_images
from pigdm_jax.samplers.ddnm import DDNM
from pigdm_jax.samplers.denoiser import Denoiser
from pigdm_jax.samplers.fitted import Fitted
from pigdm_jax.samplers.mean import Mean
from pigdm_jax.samplers.relaxed import Relaxed

# Of most pseudoinverses all but the finest details are right, so that steps at higher
# noise are wasted. Chosen on eight BSDS500 photos at JPEG quality 10, among 0.2, 0.4
# and 1. On four Kodak photos enlarged twice and four times it is better than 1 by 0.1
# to 0.2 dB; grey photos are not tinted.
START = 0.4
# Of the last steps, where a measurement has no noise. For linear ones it was chosen on
# six to eight Kodak photos of 128 pixels: PSNR and SSIM are higher than at 1 for
# super-resolution, blurs, strokes, and 30 to 92 % of pixels missing, by 0.3 to 0.9 dB;
# colours of grey photos are 0.2 dB worse. For others it is that of JPEG 20 and 50, by
# 0.15 and 0.25 dB; SSIM falls at 0.5. With noise it does not help.
TEMPERATURE, ROUNDED_TEMPERATURE = 0.2, 0.75

AIMS = ("detail", "fidelity")


def default(
    prior: Prior,
    problem: Problem,
    steps: int | None = None,
    aim: str | None = None,
) -> Sampler:
    """The sampler that `restore` and the command use if none is given.

    It is `Fitted`, started late from the pseudoinverse; for a quantised measurement
    `Relaxed`; for inpainting, where the pseudoinverse says nothing of the holes,
    `Fitted` from pure noise, or `CoarseToFine` if the image is larger than half of
    those that the prior was trained on; for a noise level and an operator without a
    null space, in which guidance could act, `Denoiser` with as many views as the prior
    has symmetries, or `DDNM` if the aim is detail. Without noise `Fitted` has a
    temperature below 1, unless the aim is detail. For everything but denoising, the aim
    of fidelity is the `Mean` of four samples, with those views.

    Args:
      prior: the diffusion model.
      problem: the measurement.
      steps: number of evaluations of the prior for each sample (of `CoarseToFine`, at
        full size); None is 10. `Denoiser` has no steps, so a number without an aim asks
        for detail.
      aim: "detail", a sample of the images that agree with the measurement, or
        "fidelity", which is nearer to the truth in squared error and smoother. None is
        what looked best: "fidelity" for denoising, "detail" for other measurements with
        noise, and between the two without.

    Raises:
      ValueError: if the aim is unknown, or the steps have no effect.

    Examples:
      >>> import numpy as np, pigdm_jax as pj
      >>> prior = pj.gaussian_prior(np.zeros((4, 4, 1)), np.eye(16))
      >>> operator = pj.operators.super_resolution((4, 4, 1), 2)
      >>> problem = pj.measure(operator, np.ones((4, 4, 1)))
      >>> str(pj.samplers.default(prior, problem, steps=20))
      'fitted:steps=20,start=0.4,temperature=0.2'
    """
    check_prior(prior)
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a pigdm_jax.Problem, got {given(problem)}")
    if aim is not None:
        check_choice("aim", aim, AIMS)
    count = 10 if steps is None else steps
    noisy = problem.noise_std is not None and not problem.noise_per_value
    if noisy and problem.operator.orthogonal:
        if aim == "detail" or (aim is None and steps is not None):
            return DDNM(steps=count, spacing="quadratic", eta=0.6)
        if steps is not None:
            raise ValueError(
                "denoising with the aim of fidelity has no steps; leave out their "
                "number, or choose detail"
            )
        return Denoiser(views=_views(prior, problem))
    temperature = 1.0
    if problem.noise_std is None and aim != "detail":
        linear = problem.operator.linear
        temperature = TEMPERATURE if linear else ROUNDED_TEMPERATURE
    if can_relax(problem):
        sampler: Sampler = Relaxed(Fitted(count, START, temperature=temperature))
    elif isinstance(problem.operator, Inpaint):
        inner = Fitted(steps=count, temperature=temperature)
        sampler = CoarseToFine(inner) if _is_large(prior, problem) else inner
    else:
        sampler = Fitted(count, START, temperature=temperature)
    if aim != "fidelity":
        return sampler
    return Mean(sampler, views=_views(prior, problem))


def _views(prior: Prior, problem: Problem) -> int:
    """The views of an image that are averaged; see `MirroredPrior`."""
    height, width, _ = problem.operator.image_shape
    views = 1 if prior.sees is not None else prior.symmetries
    return views if height == width else min(views, 4)


def _is_large(prior: Prior, problem: Problem) -> bool:
    """Whether holes may be too large for what the prior has seen.

    A small version first helps beyond half of the trained size.

    Masks are not looked at: all images of a batch have one sampler.
    """
    if prior.trained_size is None or not takes_small_images(prior):
        return False
    return 2 * max(problem.operator.image_shape[:2]) > prior.trained_size
