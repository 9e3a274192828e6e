"""The operators' laws at drawn shapes, parameters and compositions."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pigdm_jax.operators import chain, gaussian_blur, parse

draw_settings = settings(max_examples=25, deadline=None, derandomize=True)

shapes = st.tuples(
    st.integers(1, 4).map(lambda n: 4 * n),
    st.integers(1, 4).map(lambda n: 4 * n),
    st.sampled_from([1, 3]),
)


@st.composite
def linear_tasks(draw, shape=None, depth=3):
    """A shape, and a text for `parse` that names up to `depth` linear operators."""
    shape = draw(shapes) if shape is None else shape
    height, width, channels = shape
    kinds = ["identity", "inpaint", "crop", "blur", "fourier"]
    kinds += ["shrink"] * (height % 4 == width % 4 == 0) + ["grey"] * (channels == 3)
    match draw(st.sampled_from(kinds)):
        case "identity":
            text, after = "identity", shape
        case "inpaint":
            keep, seed = draw(st.floats(0.1, 1)), draw(st.integers(0, 99))
            text, after = f"inpaint:random,{keep},{seed}", shape
        case "crop":
            h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
            text, after = f"crop:{h},{w}", (h, w, channels)
        case "blur":
            boundary = draw(st.sampled_from(["zero", "reflect", "circular"]))
            std = draw(st.floats(0.2, 0.6))
            text, after = f"gaussian_blur:{std},{boundary}", shape
        case "shrink":
            factor = draw(st.sampled_from([1, 2, 4]))
            kernel = draw(st.sampled_from(["box", "bicubic", "lanczos3"]))
            text = f"super_resolution:{factor},{kernel}"
            after = (height // factor, width // factor, channels)
        case "grey":
            text, after = "grayscale", (height, width, 1)
        case "fourier":
            acceleration = draw(st.floats(1, min(4, width)))
            return shape, f"fourier:{acceleration}"
    if depth > 1 and draw(st.booleans()):
        return shape, f"{text} | {draw(linear_tasks(after, depth - 1))[1]}"
    return shape, text


def linear_operator(shape, text):
    """As `parse` has it, but blurs drop singular values below 1e-2."""
    operators = []
    for stage in text.split(" | "):
        name, _, parameters = stage.partition(":")
        if name == "gaussian_blur":
            std, boundary = parameters.split(",")
            operators.append(gaussian_blur(shape, float(std), boundary, rtol=0.01))
        else:
            operators.append(parse(stage, shape))
        shape = operators[-1].measurement_shape
    return chain(*operators)


@st.composite
def quantising_tasks(draw):
    """The same for an operator that quantises what a pooling leaves."""
    shape = draw(shapes)
    kinds = {
        "jpeg": (st.integers(1, 100), st.sampled_from(["4:4:4", "4:2:2", "4:2:0"])),
        "quantize": (st.integers(1, 8),),
        "low_dynamic_range": (
            st.floats(0.1, 1),
            st.sampled_from(["identity", "gamma"]),
            st.integers(1, 8),
        ),
    }
    name = draw(st.sampled_from(sorted(kinds)))
    parameters = ",".join(str(draw(part)) for part in kinds[name])
    factor = draw(st.sampled_from([1, 2, 4]))
    return shape, f"super_resolution:{factor},box | {name}:{parameters}"


def draw_like(shape, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-1, 1, s), jnp.float32),
        shape,
        is_leaf=lambda s: isinstance(s, tuple) and not hasattr(s, "_fields"),
    )


def dot(a, b):
    return float(jnp.vdot(a, b))


@draw_settings
@given(linear_tasks(), st.integers(0, 2**16))
def test_linear_operators_obey_their_laws(task, seed):
    operator = linear_operator(*task)
    x, z = (draw_like(operator.image_shape, seed + i) for i in range(2))
    y = operator.apply(x)
    scale = float(jnp.linalg.norm(x))

    together = operator.apply(2 * x - z)
    np.testing.assert_allclose(together, 2 * y - operator.apply(z), atol=1e-4)

    again = operator.apply(operator.pinv(y))
    np.testing.assert_allclose(again, y, atol=5e-3)

    def project(image):
        return operator.pinv(operator.apply(image))

    assert abs(dot(project(x), z) - dot(x, project(z))) < 5e-3 * scale**2
    assert float(jnp.linalg.norm(project(x))) < 1.01 * scale + 1e-3


@draw_settings
@given(linear_tasks(), st.floats(0.01, 10), st.integers(0, 2**16))
def test_damping_solves_the_normal_equations(task, damping, seed):
    operator = linear_operator(*task)
    y = draw_like(operator.measurement_shape, seed)
    image = jax.ShapeDtypeStruct(operator.image_shape, jnp.float32)
    (pulled,) = jax.linear_transpose(operator.apply, image)(y)
    x = operator.pinv(y, damping)
    (back,) = jax.linear_transpose(operator.apply, image)(operator.apply(x))
    # Blurs drop singular values below rtol, 1e-2, whose part of the answer is small.
    np.testing.assert_allclose(back + damping * x, pulled, atol=2e-2)


@draw_settings
@given(quantising_tasks(), st.integers(0, 2**16))
def test_quantising_operators_keep_what_they_measured(task, seed):
    operator = parse(task[1], task[0])
    y = operator.apply(draw_like(operator.image_shape, seed))
    again = operator.apply(operator.pinv(y))
    for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(y), strict=True):
        np.testing.assert_array_equal(one, two)
