"""`repr` of the package's objects: one line with shapes and settings."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import pigdm_jax as pj
from pigdm_jax.core.pytree import pytree_class, static_field

OPERATOR = pj.operators.super_resolution((8, 8, 3), 2)
PROBLEM = pj.Problem(OPERATOR, jnp.zeros((4, 4, 3)), 0.1)


def test_a_problem_shows_shapes_and_settings_but_no_pixels():
    text = repr(PROBLEM)
    assert text.startswith("Problem(operator=Separable(factors=(Factor(matrix=float32[")
    assert text.endswith("y=float32[4, 4, 3], noise_std=0.1)")


@pytest.mark.parametrize(
    "value",
    [
        pj.load_prior("photos-64"),
        pj.Schedule.linear(),
        pj.operators.jpeg((16, 16, 3), 30),
        pj.operators.inpaint((8, 8, 3), jnp.ones((8, 8))),
        pj.samplers.CoarseToFine(pj.samplers.Fitted()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_fit_on_one_line(value):
    assert type(value).__name__ in repr(value)
    assert "\n" not in repr(value)
    assert len(repr(value)) < 1000


def test_tracers_show_their_type_and_shape():
    seen = []

    def look(problem):
        seen.append(repr(problem))
        return problem.noise_std

    jax.jit(look)(PROBLEM)
    assert "y=float32[4, 4, 3], noise_std=float32[]" in seen[0]
    many = dataclasses.replace(PROBLEM, noise_std=jnp.ones(2))
    axes = pj.Problem(None, None, 0)
    jax.vmap(look, (axes,))(many)
    assert "noise_std=float32[]" in seen[1]


def test_a_class_keeps_its_own_repr():
    @pytree_class
    class Named:
        size: int = static_field()

        def __repr__(self):
            return "named"

    @pytree_class
    class Child(Named):
        pass

    assert [repr(Named(1)), repr(Child(2))] == ["named", "named"]
