"""The network against the original's outputs, and its options against each other."""

import dataclasses
import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from pigdm_jax import UNet, UNetConfig, compiler_options
from pigdm_jax.networks.adm import unet
from pigdm_jax.networks.adm.unet import AttentionBlock
from pigdm_jax.networks.kernels import convolution
from pigdm_jax.networks.kernels.convolution import convolve
from pigdm_jax.networks.kernels.normalisation import normalise, scale_and_shift

SMALL = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(2,),
    num_head_channels=32,
)


def check_parity(shared, name, **options):
    for part, error in golden.errors(shared, name, **options).items():
        bound = golden.OUT_TOLERANCE if part == "out" else golden.VJP_TOLERANCE
        assert error < bound, (part, error)


@pytest.mark.parametrize("name", ["tiny_a", "tiny_b", "tiny_c", "tiny_d"])
def test_outputs_and_gradients_equal_the_original(shared, name):
    check_parity(shared, name)


def test_rematerialisation_changes_nothing(shared):
    check_parity(shared, "tiny_a", remat=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["256x256_diffusion_uncond", "256x256_diffusion"])
def test_full_size_outputs_and_gradients_equal_the_original(shared, name):
    check_parity(shared, name)


@functools.cache
def initialised(config):
    net = UNet(config)
    x = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))
    t = jnp.array([3.0, 700.0])
    params = jax.jit(net.init)(jax.random.key(1), x, t)
    return net, params, x, t


def test_bfloat16_computes_close_to_float32_and_answers_in_it():
    net, params, x, t = initialised(SMALL)
    exact = jax.jit(net.apply)(params, x, t)
    coarse = jax.jit(UNet(SMALL, dtype=jnp.bfloat16).apply)(params, x, t)
    assert coarse.dtype == jnp.float32
    assert 1e-5 < golden.relative_error(coarse, exact) < 0.05


def test_norms_and_softmax_stay_float32_under_bfloat16():
    _, params, x, t = initialised(SMALL)
    net = UNet(SMALL, dtype=jnp.bfloat16)
    jaxpr = jax.make_jaxpr(lambda x: net.apply(params, x, t))(x)
    dtypes = {"exp": set(), "rsqrt": set()}

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in dtypes:
                dtypes[equation.primitive.name].add(equation.invars[0].aval.dtype.name)
            for inner in jaxprs_in_params(equation.params):
                visit(inner)

    visit(jaxpr.jaxpr)
    assert dtypes == {"exp": {"float32"}, "rsqrt": {"float32"}}


def temporary_bytes(net, params, x, t):
    """What a guided step's gradient needs besides its arguments and result."""

    def pull(params, x):
        out, back = jax.vjp(lambda x: net.apply(params, x, t), x)
        return back(out)

    pull = jax.jit(pull, compiler_options=compiler_options())
    return pull.lower(params, x).compile().memory_analysis().temp_size_in_bytes


def test_gradients_take_little_memory(monkeypatch):
    net, params, _, t = initialised(dataclasses.replace(SMALL, channel_mult=(1, 1)))
    x = jnp.zeros((2, 32, 32, 3))
    ours = temporary_bytes(net, params, x, t)
    recomputing_blocks = temporary_bytes(net.clone(remat=True), params, x, t)
    assert recomputing_blocks < 0.95 * ours
    # Without the barrier behind it.
    monkeypatch.setattr(unet, "joined", lambda x, skip: jnp.concatenate([x, skip], -1))
    assert ours < 0.95 * temporary_bytes(net, params, x, t)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_norm_keeps_its_input_alone(dtype):
    x = jnp.ones((2, 256, 32), dtype)
    scale, shift = jnp.ones((2, 32)), jnp.ones((2, 32))
    for function in (normalise, scale_and_shift):
        _, back = jax.vjp(lambda x, f=function: f(x, scale, shift, True), x)
        kept = [leaf.nbytes for leaf in jax.tree.leaves(back)]
        assert x.nbytes <= sum(kept) < 1.5 * x.nbytes


@pytest.mark.parametrize("silu", [False, True])
def test_scale_and_shift_without_statistics(silu):
    keys = jax.random.split(jax.random.key(3), 4)
    x, cotangent = (jax.random.normal(key, (2, 50, 8)) for key in keys[:2])
    scale, shift = (jax.random.normal(key, (2, 8)) for key in keys[2:])

    def plain(x, scale, shift):
        out = x * scale[:, None] + shift[:, None]
        return jax.nn.silu(out) if silu else out

    def ours(x, scale, shift):
        return scale_and_shift(x, scale, shift, silu)

    expected, expected_back = jax.vjp(plain, x, scale, shift)
    out, back = jax.vjp(ours, x, scale, shift)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    for a, b in zip(back(cotangent), expected_back(cotangent), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("group_norm", [False, True])
def test_only_group_norms_carry_a_change_across_the_image(group_norm):
    config = dataclasses.replace(SMALL, attention_resolutions=(), group_norm=group_norm)
    net, params, _, t = initialised(config)
    # The middle block has attention, which carries it, too.
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * ("proj_out" not in str(path)), params
    )
    x = jax.random.normal(jax.random.key(4), (1, 8, 96, 3))
    apply = jax.jit(net.apply)
    changed = apply(params, x.at[:, :, -8:].set(1), t[:1]) - apply(params, x, t[:1])
    assert (jnp.abs(changed[:, :, :8]).max() > 1e-3) == group_norm
    assert jnp.abs(changed[:, :, -8:]).max() > 0.1


def test_attention_keeps_no_pixel_by_pixel_weights():
    block = AttentionBlock(1, False, jnp.float32)
    x = jnp.ones((1, 16, 16, 32))
    params = block.init(jax.random.key(0), x)
    _, back = jax.vjp(lambda x: block.apply(params, x), x)
    assert max(leaf.size for leaf in jax.tree.leaves(back)) < 256 * 256


def test_images_of_a_batch_do_not_meet():
    net, params, x, t = initialised(SMALL)
    apply = jax.jit(net.apply)
    both = apply(params, x, t)
    for i in range(2):
        alone = apply(params, x[i : i + 1], t[i : i + 1])
        np.testing.assert_allclose(both[i], alone[0], atol=2e-5)


def test_configurations_from_json_equal_their_originals():
    as_json = dataclasses.asdict(SMALL) | {"channel_mult": [1, 2]}
    assert UNetConfig(**as_json) == SMALL
    assert hash(UNetConfig(**as_json)) == hash(SMALL)


@pytest.mark.parametrize(
    ("size", "shape", "outer"),
    [
        (1, (2, 6, 5, 3), 4),
        (3, (2, 6, 5, 3), 4),
        (3, (2, 6, 5, 12), 9),
        (5, (1, 3, 7, 9), 10),
        (3, (2, 33, 34, 32), 40),
    ],
    ids=["pointwise", "to few", "from more", "five taps", "winograd"],
)
def test_convolution_has_the_derivatives_of_the_plain_one(
    size, shape, outer, monkeypatch
):
    monkeypatch.setattr(convolution, "LEAST_WORK", 0)
    keys = jax.random.split(jax.random.key(0), 5)
    x, dx = (jax.random.normal(k, shape) for k in keys[:2])
    taps = (size, size, shape[-1], outer)
    kernel, dkernel = (jax.random.normal(k, taps) for k in keys[2:4])
    cotangent = jax.random.normal(keys[4], (*shape[:3], outer))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def everything(f):
        out, vjp = jax.vjp(f, x, kernel)
        forward = jax.jvp(f, (x, kernel), (dx, dkernel))
        by_one = jax.jvp(lambda x: f(x, kernel), (x,), (dx,))
        second = jax.grad(lambda x: jnp.sum(jax.vjp(f, x, kernel)[1](cotangent)[1]))(x)
        return out, vjp(cotangent), forward, by_one, second

    for a, b in zip(
        *map(jax.tree.leaves, map(everything, (convolve, plain))), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=3e-6 * np.abs(b).max())
    batched = jax.vmap(convolve, (0, None))(x[:, None], kernel)[:, 0]
    np.testing.assert_allclose(batched, plain(x, kernel), atol=1e-4)
