"""Products by weights are XLA's own, and so are their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax.networks.kernels import product
from pigdm_jax.networks.kernels.product import multiply


def close(one, two):
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=[3, 8], ids=["few", "many"], autouse=True)
def most_rows(request, monkeypatch):
    """The products below are of five rows."""
    monkeypatch.setattr(product, "MOST_ROWS", request.param)
    jax.clear_caches()


def arrays():
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (5, 6), (6, 4), (5, 6), (5, 4)
    return [jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True)]


def test_values_and_derivatives_of_every_kind_are_those_of_a_product():
    x, kernel, along, cotangent = arrays()

    def derivatives(multiply):
        def pull(x, kernel):
            return jax.vjp(multiply, x, kernel)[1](cotangent)

        return (
            multiply(x, kernel),
            pull(x, kernel),
            jax.jvp(lambda x: multiply(x, kernel), (x,), (along,)),
            jax.jvp(lambda x: multiply(jnp.sin(x), kernel), (x,), (along,)),
            jax.jvp(pull, (x, kernel), (along, kernel)),
        )

    got, expected = derivatives(multiply), derivatives(jnp.matmul)
    jax.tree.map(close, got, expected)
    jax.tree.map(close, jax.jit(derivatives, static_argnums=0)(multiply), expected)


def test_axes_before_the_last_are_rows():
    x, kernel, _, _ = arrays()
    assert multiply(jnp.ones((2, 3, 6)), kernel).shape == (2, 3, 4)
    close(multiply(x[0], kernel), x[0] @ kernel)
    assert (
        multiply(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)).dtype
        == "bfloat16"
    )


def test_batches_may_share_their_weights_or_have_their_own():
    x, kernel, _, cotangent = arrays()

    def gradient(x, kernel):
        return jax.vjp(lambda x: multiply(x, kernel), x)[1](cotangent)[0]

    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel])
    for function in (multiply, gradient):
        for axes, inputs in (
            ((0, None), (xs, kernel)),
            ((0, 0), (xs, kernels)),
            ((None, 0), (x, kernels)),
            ((1, None), (xs.swapaxes(0, 1), kernel)),
        ):
            got = jax.vmap(function, axes)(*inputs)
            pair = [
                function(
                    *(
                        jnp.take(a, i, axis) if axis is not None else a
                        for a, axis in zip(inputs, axes, strict=True)
                    )
                )
                for i in range(2)
            ]
            close(got, jnp.stack(pair))
