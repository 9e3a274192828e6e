"""JiT: parity with PyTorch's, its laws, and its recognition by tensors."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_files

import pigdm_jax as pj
from pigdm_convert import CheckpointError
from pigdm_jax.networks import CheckpointFlags as Flags
from pigdm_jax.networks import parameter_shapes
from pigdm_jax.networks.blocks import best_attention
from pigdm_jax.networks.keys import places, torch_key
from pigdm_jax.networks.pixel_transformer.keys import check_names, to_params
from pigdm_jax.networks.pixel_transformer.positions import rotate, rotation
from pigdm_jax.networks.pixel_transformer.recognition import recognise
from pigdm_jax.weights.conversion import convert
from pigdm_jax.weights.store import read_network

TINY = pj.PixelTransformerConfig(
    image_size=32,
    patch_size=4,
    hidden_size=64,
    depth=4,
    num_heads=4,
    mlp_size=170,
    bottleneck_dim=16,
    num_classes=10,
    in_context_len=5,
    in_context_start=1,
)
PUBLIC = {
    "JiT-B/16": (12, 768, 12, 128, 256, 4, 1.0),
    "JiT-L/16": (24, 1024, 16, 128, 256, 8, 1.0),
    "JiT-H/16": (32, 1280, 16, 256, 256, 10, 1.0),
    "JiT-B/32": (12, 768, 12, 128, 512, 4, 2.0),
    "JiT-L/32": (24, 1024, 16, 128, 512, 8, 2.0),
    "JiT-H/32": (32, 1280, 16, 256, 512, 10, 2.0),
}


def public(name):
    """The configuration of a public checkpoint."""
    depth, width, heads, bottleneck, size, start, noise = PUBLIC[name]
    return pj.PixelTransformerConfig(
        image_size=size,
        patch_size=size // 16,
        hidden_size=width,
        depth=depth,
        num_heads=heads,
        mlp_size=int(int(4 * width) * 2 / 3),
        bottleneck_dim=bottleneck,
        num_classes=1000,
        in_context_start=start,
        noise_scale=noise,
    )


def torch_shapes(config):
    """The shapes of a checkpoint's tensors, from the parameters'."""
    shapes = {}
    # `check_names` asks for the same, which is kept: tracing JiT-H takes seconds.
    for key, place in places(pj.PixelTransformer(config), torch_key).items():
        shape = place.shape
        if place.path[-1] == "kernel":
            shape = (*shape[:-3:-1], *shape[:-2])
        if "proj2" in place.path and place.path[-1] == "kernel":
            shape = (*shape, 1, 1)
        shapes[key] = shape
    return shapes


def random_params(config, seed=0):
    """Parameters without the zeros with which training begins."""
    shapes = parameter_shapes(pj.PixelTransformer(config))
    leaves, kind = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    arrays = [0.2 * rng.standard_normal(leaf.shape, np.float32) for leaf in leaves]
    return jax.tree.unflatten(kind, arrays)


def relative_error(a, b):
    return float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))


@functools.cache
def tiny():
    """Parameters, two images, their flow times and labels."""
    x = np.random.default_rng(1).standard_normal((2, 32, 32, 3), np.float32)
    return random_params(TINY), x, jnp.array([0.2, 0.9]), jnp.array([3, 10])


@functools.cache
def applied(config, **options):
    return jax.jit(pj.PixelTransformer(config, **options).apply)


def output(x, tau, label, config=TINY, **options):
    return applied(config, **options)({"params": tiny()[0]}, x, tau, label)


def prior_of(config, params, label=None, **options):
    net = pj.PixelTransformer(config, **options)
    return pj.network_prior(net, params, "linear", label, predicts="x0", flow=True)


@functools.cache
def prior(label=None, **options):
    return prior_of(TINY, tiny()[0], label, **options)


@functools.cache
def shallow(label, **options):
    """A prior of two blocks, which compiles sooner."""
    config = dataclasses.replace(TINY, depth=2)
    return prior_of(config, random_params(config), label, **options)


def parity(config, make, seed=0):
    """Relative errors of outputs and input gradients against azula's copy."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    model = make()
    # Zeros, as at the beginning of training, would make the comparison empty.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            std = 1.0 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            if name not in ("pos_embed", "in_context_posemb"):
                parameter.normal_(0, std)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    net = recognise({k: v.shape for k, v in state.items()}, Flags()).network
    check_names({k: v.shape for k, v in state.items()}, net)
    assert dataclasses.replace(net.config, noise_scale=1.0) == config
    params = to_params(state.items(), net)

    rng = np.random.default_rng(seed)
    shape = (2, config.image_size, config.image_size, 3)
    x, v = (rng.standard_normal(shape, np.float32) for _ in range(2))
    tau = jnp.array([0.2, 0.93])
    label = jnp.array([1, config.num_classes])
    their_x, their_v = (torch.tensor(a.transpose(0, 3, 1, 2)) for a in (x, v))
    their_x.requires_grad_()
    theirs = model(their_x, *(torch.tensor(np.asarray(a)) for a in (1 - tau, label)))
    theirs.backward(their_v)

    @jax.jit
    def ours(params, x, v):
        def apply(x):
            return net.apply({"params": params}, x, tau, label)

        out, back = jax.vjp(apply, x)
        return out, *back(v)

    pairs = zip(ours(params, x, v), (theirs.detach(), their_x.grad), strict=True)
    return [relative_error(a, b.numpy().transpose(0, 2, 3, 1)) for a, b in pairs]


@pytest.fixture
def their_model(monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # blocks are compiled otherwise
    pytest.importorskip("torch")
    return pytest.importorskip("azula.plugins.jit._src.model")


@pytest.mark.torch
@pytest.mark.parametrize("class_tokens", [5, 0])
def test_outputs_and_gradients_equal_those_of_azula(their_model, class_tokens):
    config = dataclasses.replace(TINY, in_context_len=class_tokens)
    make = functools.partial(
        their_model.JiT,
        input_size=32,
        patch_size=4,
        hidden_size=64,
        depth=4,
        num_heads=4,
        bottleneck_dim=16,
        num_classes=10,
        in_context_len=class_tokens,
        in_context_start=1,
    )
    out, gradient = parity(config, make)
    assert out < 1e-5 and gradient < 1e-5


@pytest.mark.slow
def test_a_public_size_equals_that_of_azula(their_model):
    out, gradient = parity(public("JiT-B/16"), their_model.JiT_models["JiT-B/16"])
    assert out < 2e-5 and gradient < 2e-5


# The smallest and the largest of them are enough for each commit.
QUICK = ("JiT-B/16", "JiT-H/32")
SIZES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in PUBLIC
]


@pytest.mark.parametrize("name", SIZES)
def test_public_checkpoints_are_recognised_by_their_shapes(name):
    config = public(name)
    shapes = torch_shapes(config)
    found = recognise(shapes, Flags())
    check_names(shapes, found.network)
    assert found.network.config == config
    assert found.names == (name,)
    assert (found.predicts, found.flow, found.schedule) == ("x0", True, "linear")
    assert f"class tokens join before block {config.in_context_start}" in (
        found.assumptions
    )


def test_other_sizes_are_recognised_without_a_name():
    found = recognise(torch_shapes(TINY), Flags(schedule="cosine", image_size=32))
    assert found.network.config == TINY
    assert found.names == () and found.schedule == "cosine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.attn.q_norm.weight": None}, "there is no blocks.0.attn.q_norm"),
        ({"blocks.0.attn.q_norm.weight": (24,)}, "heads of 24 channels do not fit"),
        ({"pos_embed": (1, 63, 64)}, "63 patches do not make a square"),
        ({"pos_embed": (64,)}, "too few axes"),
        ({"y_embedder.embedding_table.weight": (1, 64)}, "one label"),
        ({"pos_embed": (1, 0, 64)}, "no elements"),
    ],
)
def test_other_tensors_are_refused(change, message):
    shapes = torch_shapes(TINY) | change
    shapes = {name: shape for name, shape in shapes.items() if shape is not None}
    with pytest.raises(CheckpointError, match=message):
        recognise(shapes, Flags())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Flags(num_heads=4), "--num-heads has no effect on a JiT"),
        (Flags(image_size=64), "--image-size 64 contradicts"),
    ],
)
def test_flags_without_effect_are_refused(flags, message):
    with pytest.raises(CheckpointError, match=message):
        recognise(torch_shapes(TINY), flags)


def test_products_of_rotated_channels_depend_on_differences_of_positions():
    side = 6
    q, k = np.random.default_rng(0).standard_normal((2, 8), np.float32)
    turn = rotation(side, 8)
    tokens = (1, side**2, 1, 8)
    turned_q, turned_k = (
        np.asarray(rotate(jnp.broadcast_to(a, tokens), turn))[0, :, 0] for a in (q, k)
    )
    products = (turned_q @ turned_k.T).reshape((side,) * 4)
    by_difference = {}
    for place in np.ndindex(products.shape):
        row, column, other_row, other_column = place
        difference = (row - other_row, column - other_column)
        by_difference.setdefault(difference, []).append(products[place])
    assert max(np.ptp(values) for values in by_difference.values()) < 1e-5
    assert np.std([values[0] for values in by_difference.values()]) > 0.1


def test_images_of_a_batch_do_not_meet():
    _, x, tau, label = tiny()
    both = output(x, tau, label)
    for i in range(2):
        part = slice(i, i + 1)
        alone = output(x[part], tau[part], label[part])
        np.testing.assert_allclose(both[i], alone[0], atol=2e-5)


def test_the_label_changes_the_output_and_none_is_the_null_label():
    _, x, tau, _ = tiny()
    null = output(x, tau, jnp.full(2, 10))
    np.testing.assert_array_equal(output(x, tau, None), null)
    assert relative_error(output(x, tau, jnp.full(2, 3)), null) > 0.01


def test_bfloat16_computes_close_to_float32_and_answers_in_it():
    _, x, tau, label = tiny()
    exact = output(x, tau, label)
    coarse = output(x, tau, label, dtype=jnp.bfloat16)
    assert coarse.dtype == jnp.float32
    assert 1e-4 < relative_error(coarse, exact) < 0.05


def test_noise_of_another_scale_in_training_is_the_same_mixture():
    """z = t x0 + (1 - t) k eps is proportional to (1 - tau) x0 + tau eps."""
    _, x, _, label = tiny()
    scale, tau = 2.0, jnp.array([0.3, 0.8])
    t = 1 / (1 + tau / (1 - tau) / scale)
    z = x * (t / (1 - tau))[:, None, None, None]
    config = dataclasses.replace(TINY, noise_scale=scale)
    ours = output(x, tau, label, config)
    np.testing.assert_allclose(ours, output(z, 1 - t, label), atol=2e-5)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"32 x 32 pixels, got 64 x 64"):
        prior()(jnp.zeros((64, 64, 3)), 100)


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_restore_has_a_finite_gradient(remat):
    operator = pj.operators.super_resolution((32, 32, 3), 4)
    y = jnp.asarray(operator.apply(tiny()[1][0] / 4))

    def size(y):
        problem = pj.Problem(operator, y, 0.1)
        sampler = pj.samplers.DDIM(steps=2)
        image = pj.restore(shallow(3, remat=remat), problem, jax.random.key(0), sampler)
        return jnp.sum(image**2)

    gradient = jax.jit(jax.grad(size))(y)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_a_saved_prior_needs_no_label(tmp_path):
    network = pj.PixelTransformer(TINY)
    pj.save_prior(tmp_path / "p", network, tiny()[0], "linear", {}, "x0", flow=True)
    x = tiny()[1][0]
    loaded = pj.load_prior(tmp_path / "p")
    assert loaded.image_shape == (32, 32, 3)
    evaluate = jax.jit(lambda prior, x: prior(x, 300))
    np.testing.assert_array_equal(evaluate(loaded, x), evaluate(prior(), x))
    labelled = pj.load_prior(tmp_path / "p", label=3)
    np.testing.assert_array_equal(evaluate(labelled, x), evaluate(prior(3), x))


def test_windows_of_its_size_cover_larger_images():
    problem = pj.measure(
        pj.operators.super_resolution((48, 40, 3), 4), jnp.zeros((48, 40, 3))
    )
    large = pj.tiled(shallow(3), 32, 8)
    sampler = pj.samplers.DDNM(steps=2)
    image = pj.restore(large, problem, jax.random.key(0), sampler)
    assert image.shape == (48, 40, 3) and np.isfinite(image).all()


def test_the_average_in_a_checkpoint_of_training_is_converted(tmp_path):
    """Nested as its authors' training saves it, with tensors behind `net.`"""
    rng = np.random.default_rng(0)
    average = {
        f"net.{name}": rng.standard_normal(shape, np.float32)
        for name, shape in torch_shapes(TINY).items()
    }
    views, storages = torch_files.flat_state(average)
    last = torch_files.tensor("1", np.zeros(3, np.float32), 3)
    state = {"model": {"net.x": last}, "model_ema1": views, "epoch": 599}
    storages["1"] = np.zeros(3, np.float32)
    file = tmp_path / "checkpoint-last.pth"
    file.write_bytes(torch_files.zipped(state, storages))
    report = convert(file, tmp_path / "prior")
    assert any("model_ema1" in line for line in report)
    saved = read_network(tmp_path / "prior")
    assert (saved.network.config, saved.predicts, saved.flow) == (TINY, "x0", True)
    patches = average["net.x_embedder.proj1.weight"]
    np.testing.assert_array_equal(
        saved.params["x_embedder"]["proj1"]["kernel"], patches.transpose(2, 3, 1, 0)
    )


def device(platform, version="", capability=""):
    return SimpleNamespace(
        platform=platform,
        client=SimpleNamespace(platform_version=version),
        compute_capability=capability,
    )


@pytest.mark.parametrize(
    ("expected", "dtype", "tokens", "width", "on"),
    [
        ("cudnn", "bfloat16", 288, 80, device("gpu", "cuda 12090", "9.0")),
        ("xla", "float32", 288, 64, device("gpu", "cuda 12090", "9.0")),
        ("xla", "bfloat16", 69, 64, device("gpu", "cuda 12090", "9.0")),
        ("xla", "bfloat16", 288, 60, device("gpu", "cuda 12090", "9.0")),
        ("xla", "bfloat16", 288, 64, device("gpu", "cuda 12090", "7.5")),
        ("xla", "bfloat16", 288, 64, device("gpu", "rocm 60200")),
        ("xla", "bfloat16", 288, 64, device("tpu", "libtpu")),
        ("xla", "bfloat16", 288, 64, None),
    ],
)
def test_flash_attention_is_chosen_where_it_is_valid(
    expected, dtype, tokens, width, on
):
    assert best_attention(dtype, tokens, width, on) == expected


def test_flash_attention_lowers_for_nvidia(monkeypatch):
    """Forward and backward, mapped over images, with the largest network's heads."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91000)
    config = dataclasses.replace(
        TINY,
        hidden_size=160,
        num_heads=2,
        mlp_size=8,
        depth=1,
        in_context_len=4,
        in_context_start=0,
    )
    net = pj.PixelTransformer(config, dtype=jnp.bfloat16, attention="cudnn")
    params = random_params(config)

    def gradient(x):
        def apply(x):
            return net.apply({"params": params}, x[None], jnp.ones(1) / 2)

        out, back = jax.vjp(apply, x)
        return back(out)

    x = jax.ShapeDtypeStruct((3, 32, 32, 3), jnp.float32)
    disabled = [
        jax.export.DisabledSafetyCheck.custom_call(f"__cudnn$fmhaSoftmax{way}")
        for way in ("", "Backward")
    ]
    exported = jax.export.export(
        jax.jit(jax.vmap(gradient)), platforms=["cuda"], disabled_checks=disabled
    )(x)
    text = exported.mlir_module()
    assert text.count("__cudnn$fmhaSoftmax") >= 2
