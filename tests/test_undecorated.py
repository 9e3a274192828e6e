"""Users' own classes that lack `pytree_class` are refused in a sentence."""

import jax
import numpy as np
import pytest

import pigdm_jax as pj
from pigdm_jax.guidance import Pseudoinverse
from pigdm_jax.operators.cropping import Crop
from pigdm_jax.priors.base import Prior
from pigdm_jax.samplers import DDIM

SHAPE = (8, 8, 3)


class MyOperator(Crop):
    pass


class MyGuidance(Pseudoinverse):
    pass


class MySampler(DDIM):
    pass


class MyPrior(Prior):
    schedule = pj.Schedule.linear()

    def __call__(self, x_t, t):
        return x_t


OPERATOR = pj.operators.identity(SHAPE)
Y = np.zeros(SHAPE, np.float32)


@pytest.mark.parametrize(
    "name, changes",
    [
        ("MyOperator", lambda: {"operator": MyOperator(SHAPE, (0, 0, 8, 8))}),
        (
            "MyOperator",
            lambda: {
                "operator": pj.operators.chain(
                    MyOperator(SHAPE, (0, 0, 8, 8)), pj.operators.quantize(SHAPE)
                )
            },
        ),
        ("MyPrior", lambda: {"prior": MyPrior()}),
        ("MySampler", lambda: {"sampler": MySampler(steps=2)}),
        ("MyGuidance", lambda: {"sampler": DDIM(steps=2, guidance=MyGuidance())}),
    ],
)
def test_a_class_without_its_decorator_is_named(smooth_prior, name, changes):
    given = {"prior": smooth_prior, "operator": OPERATOR, "sampler": DDIM(steps=2)}
    given |= changes()
    with pytest.raises(TypeError, match=f"{name} is not a pytree: decorate") as caught:
        problem = pj.Problem(given["operator"], Y)
        pj.restore(given["prior"], problem, jax.random.key(0), given["sampler"])
    assert "\n" not in str(caught.value)


def test_decorated_classes_run(smooth_prior):
    guidance = pj.pytree_class(type("Ours", (Pseudoinverse,), {}))()
    problem = pj.Problem(OPERATOR, Y, 0.1)
    sampler = DDIM(steps=2, guidance=guidance)
    image = pj.restore(smooth_prior, problem, jax.random.key(0), sampler)
    assert np.isfinite(image).all()
