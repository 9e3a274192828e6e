"""Restorations whose pixels are not to change unnoticed.

`frozen.npz` holds what `restore` made of five measurements of one image, by every
sampler, guidance and weight, before samplers and problems were values; and `rounding`,
how much each of those images moved, in that version, when the last bits of prior and
measurement did: 1e-6 for most, 0.2 where the sampler divides by what is almost 0. An
image that was meant to change is replaced, and its rounding with it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import Problem, gaussian_prior, operators, restore, samplers

FROZEN = np.load(Path(__file__).with_name("frozen.npz"))
SHAPE = (8, 8, 3)
CASES = sorted({name.rsplit("|", 1)[0] for name in FROZEN.files if "|" in name})
ROUNDING = dict(zip(FROZEN["names"], FROZEN["rounding"], strict=True))


def tolerance(name):
    """Of the largest difference.

    `rounding` is what one change of the last bits did. The weakest singular values of
    the motion blur are 0.0014; their squares, 2e-6, are about the tolerance of the
    undamped conjugate gradients, 1e-6, which resolve these directions in some runs and
    in others stop an iteration before. Most samplers' `rounding` has caught that. It
    happens to all, so none is held to less than twice the median of its case.
    """
    case = name.rsplit("|", 1)[0]
    case_rounding = [v for k, v in ROUNDING.items() if k.startswith(f"{case}|")]
    return max(1e-5, 5 * ROUNDING[name], 2 * np.median(case_rounding))


# Every fourth sampler of two measurements is enough for each commit.
QUICK = ("inpaint:random,0.5,3|0.0", "gaussian_blur:1.0|0.1")
SLOW = [pytest.param(case, 1, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("case, every", [*((case, 4) for case in QUICK), *SLOW])
def test_restorations_are_as_they_were(case, every):
    text, noise = case.split("|")
    prior = gaussian_prior(FROZEN["mean"], FROZEN["covariance"])
    operator = operators.parse(text, SHAPE)
    y, noise_std = operator.apply(jnp.asarray(FROZEN["x"])), float(noise)
    if noise_std:
        y = y + noise_std * jax.random.normal(jax.random.key(5), y.shape)
    problem = Problem(operator, y, noise_std or None)
    names = [name for name in FROZEN.files if name.startswith(f"{case}|")]
    for name in names[::every]:
        sampler = samplers.parse(name.rsplit("|", 1)[1])
        image = restore(prior, problem, jax.random.key(11), sampler)
        off = np.abs(image - FROZEN[name]).max() / max(1, np.abs(FROZEN[name]).max())
        assert off < tolerance(name), (name, off)
    jax.clear_caches()
