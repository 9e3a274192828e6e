"""From a checkpoint to a prior: names, layouts, recognition, and the command."""

import json

import golden
import jax
import numpy as np
import pytest
from torch_files import flat_state, legacy, zipped

from pigdm_convert import CheckpointError, Flags, convert
from pigdm_convert.keymap import check_names, flax_path, to_params
from pigdm_convert.recognise import recognise
from pigdm_jax import UNetConfig, load_prior
from pigdm_jax.checkpoint import expected_params, read_metadata

PUBLIC = [
    "64x64_diffusion",
    "128x128_diffusion",
    "256x256_diffusion",
    "256x256_diffusion_uncond",
    "512x512_diffusion",
    "64_256_upsampler",
    "128_512_upsampler",
    "lsun_bedroom",
    "ffhq_256",
]


def manifest(shared, name):
    return json.loads((shared / f"golden/manifests/{name}.json").read_text())


def shapes_of(manifest):
    tensors = manifest["tensors"]
    pairs = tensors.items() if isinstance(tensors, dict) else tensors
    return {key: tuple(shape) for key, shape in pairs}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_checkpoints_are_recognised_by_their_shapes(shared, name):
    known = manifest(shared, name)
    found = recognise(shapes_of(known), Flags())
    assert name in found.names
    assert found.config == golden.config_of(known)
    assert found.schedule == known["config"]["noise_schedule"]
    assert not found.assumptions


@pytest.mark.parametrize("name", ["tiny_a", "tiny_b", "tiny_c", "tiny_d"])
def test_others_are_inferred_with_the_help_of_flags(shared, name):
    unknown = manifest(shared, name)
    expected = golden.config_of(unknown)
    flags = Flags(
        num_head_channels=expected.num_head_channels,
        num_heads=expected.num_heads,
        num_heads_upsample=expected.num_heads_upsample,
        new_attention_order=expected.use_new_attention_order,
        image_size=expected.image_size,
        schedule="linear",
        attention_resolutions=",".join(
            str(expected.image_size // f) for f in expected.attention_resolutions
        ),
    )
    found = recognise(shapes_of(unknown), flags)
    assert found.config == expected
    assert found.names == () and found.assumptions == ()
    few = recognise(shapes_of(unknown), Flags(num_heads=1))
    assert len(few.assumptions) == 3
    with pytest.raises(CheckpointError, match="--num-head-channels or --num-heads"):
        recognise(shapes_of(unknown), Flags())


def test_names_follow_one_rule():
    assert flax_path("input_blocks.4.1.qkv.weight", 3) == (
        "input_blocks_4_1",
        "qkv",
        "kernel",
    )
    assert flax_path("time_embed.0.bias", 1) == ("time_embed_0", "bias")
    assert flax_path("out.0.weight", 1) == ("out_0", "scale")
    assert flax_path("label_emb.weight", 2) == ("label_emb", "embedding")


SMALL = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(2,),
    num_head_channels=32,
)


def torch_state(config):
    """Random weights under PyTorch's names, by undoing the rule."""
    rng = np.random.default_rng(0)
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected_params(config)):
        *modules, kind = (part.key for part in path)
        names = []
        for module in modules:
            for prefix in ("in_layers", "emb_layers", "out_layers", "input_blocks"):
                module = module.replace(prefix, prefix.replace("_", "~"))
            for prefix in ("output_blocks", "middle_block", "time_embed"):
                module = module.replace(prefix, prefix.replace("_", "~"))
            for prefix in ("skip_connection", "proj_out", "label_emb"):
                module = module.replace(prefix, prefix.replace("_", "~"))
            names += module.replace("_", ".").replace("~", "_").split(".")
        array = rng.normal(size=leaf.shape).astype("f4") * 0.1
        if kind == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            if names[-1] in ("qkv", "proj_out"):
                array = array[..., None]
        leaf_name = "bias" if kind == "bias" else "weight"
        state[".".join([*names, leaf_name])] = np.ascontiguousarray(array)
    return state


@pytest.fixture(scope="module")
def small_state():
    return torch_state(SMALL)


@pytest.fixture
def small_file(small_state, tmp_path):
    path = tmp_path / "small.pt"
    path.write_bytes(legacy(*flat_state(small_state)))
    return path


FLAGS = Flags(num_head_channels=32, schedule="linear")


def test_a_converted_checkpoint_loads_and_computes_the_same(
    small_file, small_state, tmp_path
):
    report = convert(small_file, tmp_path / "prior", FLAGS)
    prior = load_prior(tmp_path / "prior")
    assert prior.net.config == SMALL
    expected = to_params(small_state.items())
    for ours, theirs in zip(
        jax.tree.leaves(prior.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert prior(np.zeros((8, 8, 3), np.float32), 5).shape == (8, 8, 3)

    text = "\n".join(report)
    assert "not one of the public checkpoints" in text
    assert "legacy attention order" in text and "any size" in text
    assert "linear schedule (--schedule)" not in text
    metadata = read_metadata(tmp_path / "prior")
    assert metadata["source"]["file"] == "small.pt"
    assert metadata["source"]["sha256"] in text
    assert metadata["schedule"] == {"name": "linear"}


def test_half_precision_storage_is_close(small_file, tmp_path):
    convert(small_file, tmp_path / "full", FLAGS)
    convert(small_file, tmp_path / "half", FLAGS, dtype="float16")
    x = jax.random.normal(jax.random.key(0), (8, 8, 3))
    full, half = (load_prior(tmp_path / name)(x, 300) for name in ("full", "half"))
    assert 0 < golden.relative_error(half, full) < 5e-3


def test_every_wrong_tensor_is_named(small_state):
    shapes = {name: array.shape for name, array in small_state.items()}
    shapes["extra.weight"] = (3,)
    del shapes["out.0.bias"]
    shapes["out.2.bias"] = (7,)
    with pytest.raises(CheckpointError) as caught:
        check_names(shapes, SMALL)
    sentence = str(caught.value)
    assert "missing: out_0/bias" in sentence
    assert "not part of it: extra.weight" in sentence
    assert "of another shape: out.2.bias (7,)" in sentence


def answered(file, out, flags=FLAGS, **options):
    """The one sentence that answers a conversion; it must leave nothing behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(CheckpointError) as caught:
        convert(file, out, flags, **options)
    assert sorted(out.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_failures_leave_nothing_behind(small_file, small_state, tmp_path):
    out = tmp_path / "prior"
    assert "--num-heads" in answered(small_file, out, Flags())
    assert "does not divide" in answered(small_file, out, Flags(num_head_channels=7))
    assert "do not divide" in answered(small_file, out, Flags(num_heads=3))
    wrong = Flags(num_heads=1, attention_resolutions="16", image_size=16)
    assert "contradicts the tensors" in answered(small_file, out, wrong)
    unsized = Flags(num_heads=1, attention_resolutions="16")
    assert "needs --image-size" in answered(small_file, out, unsized)

    large = small_state | {"out.2.bias": np.full(3, 1e6, "f4")}
    small_file.write_bytes(zipped(*flat_state(large)))
    sentence = answered(small_file, out, dtype="float16")
    assert "out.2.bias is not finite as float16" in sentence
    broken = small_state | {"out.2.bias": np.full(3, np.nan, "f4")}
    small_file.write_bytes(zipped(*flat_state(broken)))
    assert "out.2.bias is not finite" in answered(small_file, out)

    other = {"conv1.weight": np.zeros((4, 3, 3, 3), "f4")}
    small_file.write_bytes(zipped(*flat_state(other)))
    assert "not those of an ADM UNet" in answered(small_file, out)
    less = {k: v for k, v in small_state.items() if k != "input_blocks.1.0.in_layers.0"}
    less.pop("middle_block.2.out_layers.3.bias")
    small_file.write_bytes(zipped(*flat_state(less)))
    assert "middle_block_2/out_layers_3/bias" in answered(small_file, out)

    out.mkdir()
    assert "exists" in answered(small_file, out)


def test_the_prior_of_the_reference_data_is_recognised(shared, tmp_path):
    report = convert(shared / "priors/photos-64.pt", tmp_path / "prior")
    assert "recognised by its tensors: photos-64" in report
    assert load_prior(tmp_path / "prior").image_shape is None
