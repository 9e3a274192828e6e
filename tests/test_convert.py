"""From a checkpoint to a prior: names, layouts, and the whole way."""

import json
import sys

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_files import WRITERS, flat_state, legacy, zipped

from pigdm_convert import CheckpointError
from pigdm_jax import UNetConfig, load_prior
from pigdm_jax.networks import CheckpointFlags as Flags
from pigdm_jax.networks import UNet, parameter_shapes
from pigdm_jax.networks.adm.keys import to_params
from pigdm_jax.networks.keys import torch_key
from pigdm_jax.weights.conversion import convert
from pigdm_jax.weights.metadata import read_metadata


def test_names_follow_one_rule():
    for key, path in (
        ("input_blocks.4.1.qkv.weight", ("input_blocks_4_1", "qkv", "kernel")),
        ("time_embed.0.bias", ("time_embed_0", "bias")),
        ("out.0.weight", ("out_0", "scale")),
        ("label_emb.weight", ("label_emb", "embedding")),
    ):
        assert torch_key(path) == key


SMALL = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(2,),
    num_head_channels=32,
)
FLAGS = Flags(num_head_channels=32, schedule="linear")


def torch_state(config):
    """Random weights under PyTorch's names and in its layouts."""
    rng = np.random.default_rng(0)
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        parameter_shapes(UNet(config))
    ):
        names = tuple(part.key for part in path)
        array = rng.normal(size=leaf.shape).astype("f4") * 0.1
        if names[-1] == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            if names[-2] in ("qkv", "proj_out"):
                array = array[..., None]
        state[torch_key(names)] = np.ascontiguousarray(array)
    return state


@pytest.fixture(scope="module")
def small_state():
    return torch_state(SMALL)


@pytest.fixture
def small_file(small_state, tmp_path):
    path = tmp_path / "small.pt"
    path.write_bytes(legacy(*flat_state(small_state)))
    return path


def test_a_converted_checkpoint_loads_and_computes_the_same(
    small_file, small_state, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    report = convert(small_file, tmp_path / "prior", FLAGS)
    prior = load_prior(tmp_path / "prior")
    assert prior.network.config == SMALL
    expected = to_params(small_state.items(), UNet(SMALL))
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
    assert "legacy attention order" in metadata["source"]["assumed"]
    assert metadata["schedule"] == {"name": "linear"}


def test_a_converted_network_computes_what_the_original_computes(shared, tmp_path):
    """The golden file of `tiny_a`, by way of a checkpoint in the legacy format."""
    fill = golden.fill_module(shared)
    manifest = json.loads((shared / "golden/manifests/tiny_a.json").read_text())
    gold = np.load(shared / "golden/outputs/tiny_a.npz")
    file = tmp_path / "tiny_a.pt"
    file.write_bytes(legacy(*flat_state(fill.fill_state_dict(manifest))))
    convert(file, tmp_path / "prior", Flags(num_head_channels=16, image_size=32))
    prior = load_prior(tmp_path / "prior")
    assert prior.network.config == golden.config_of(manifest)

    x, v = (
        fill.standard_normal(f"tiny_a/{part}", gold["x_shape"]).transpose(0, 2, 3, 1)
        for part in "xv"
    )

    @jax.jit
    def evaluate(x, v):
        t = jnp.asarray(gold["timesteps"], jnp.float32)
        out, vjp = jax.vjp(
            lambda x: prior.network.apply({"params": prior.params}, x, t), x
        )
        return out, vjp(jnp.zeros_like(out).at[..., :3].set(v))[0]

    out, gradient = (np.transpose(a, (0, 3, 1, 2)) for a in evaluate(x, v))
    assert golden.relative_error(out, gold["out"]) < golden.OUT_TOLERANCE
    assert golden.relative_error(gradient, gold["vjp_x"]) < golden.VJP_TOLERANCE


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_half_precision_files_convert(small_state, stored, tmp_path):
    halves = {name: array.astype(stored) for name, array in small_state.items()}
    (tmp_path / "half.pt").write_bytes(zipped(*flat_state(halves)))
    convert(tmp_path / "half.pt", tmp_path / "prior", FLAGS)
    expected = to_params(((k, a.astype("f4")) for k, a in halves.items()), UNet(SMALL))
    params = load_prior(tmp_path / "prior").params
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_half_precision_storage_is_close(small_file, tmp_path):
    convert(small_file, tmp_path / "full", FLAGS)
    convert(small_file, tmp_path / "half", FLAGS, dtype="float16")
    x = jax.random.normal(jax.random.key(0), (8, 8, 3))
    full, half = (load_prior(tmp_path / name)(x, 300) for name in ("full", "half"))
    assert 0 < golden.relative_error(half, full) < 5e-3


def test_overridden_settings_are_reported(shared, tmp_path):
    flags = Flags(schedule="cosine")
    report = convert(shared / "priors/photos-64.pt", tmp_path / "prior", flags)
    assert "set by flags: --schedule cosine instead of linear" in report
    metadata = read_metadata(tmp_path / "prior")
    assert metadata["schedule"] == {"name": "cosine"}
    assert "cosine" in metadata["source"]["overridden"]


def test_the_prior_of_the_reference_data_is_recognised(shared, tmp_path):
    report = convert(shared / "priors/photos-64.pt", tmp_path / "prior")
    assert "recognised by its tensors: photos-64" in report
    assert load_prior(tmp_path / "prior").image_shape is None


def answered(file, out, flags=FLAGS, **options):
    """The one sentence that answers a conversion; it must leave nothing behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(CheckpointError) as caught:
        convert(file, out, flags, **options)
    assert sorted(out.parent.iterdir()) == before
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_wrong_numbers_are_answered(kind, small_file, small_state, tmp_path):
    def wrong(value, **options):
        state = small_state | {"out.2.bias": value}
        small_file.write_bytes(WRITERS[kind](*flat_state(state)))
        return answered(small_file, tmp_path / "prior", **options)

    large = np.full(3, 1e6, "f4")
    assert "out.2.bias is not finite as float16" in wrong(large, dtype="float16")
    assert "out.2.bias is not finite as float32" in wrong(np.full(3, np.nan, "f4"))
    assert "out.2.bias is not finite as float32" in wrong(np.full(3, np.inf, "f4"))
    assert "of another shape: out.2.bias (4,)" in wrong(np.zeros(4, "f4"))


def test_integers_are_no_weights(small_state, tmp_path):
    file = tmp_path / "small.safetensors"
    save_file(small_state, file)
    convert(file, tmp_path / "prior", FLAGS)
    save_file(small_state | {"out.2.bias": np.zeros(3, "i4")}, file)
    assert "out.2.bias is of type I32" in answered(file, tmp_path / "other")


def test_failures_leave_nothing_behind(small_file, small_state, tmp_path):
    out = tmp_path / "prior"
    assert "--num-heads" in answered(small_file, out, Flags())
    assert "does not divide" in answered(small_file, out, Flags(num_head_channels=7))
    wrong = Flags(num_heads=1, attention_resolutions="16", image_size=16)
    assert "contradicts the tensors" in answered(small_file, out, wrong)
    assert "no file" in answered(tmp_path / "nowhere.pt", out)

    content = small_file.read_bytes()
    for share in range(10):
        small_file.write_bytes(content[: len(content) * share // 10])
        answered(small_file, out)
    other = {"conv1.weight": np.zeros((4, 3, 3, 3), "f4")}
    small_file.write_bytes(zipped(*flat_state(other)))
    assert "an ADM UNet" in answered(small_file, out)
    less = {k: v for k, v in small_state.items() if k != "out.0.bias"}
    small_file.write_bytes(zipped(*flat_state(less)))
    assert "missing: out.0.bias" in answered(small_file, out)


def test_places_that_cannot_be_written_are_answered(small_file, tmp_path):
    out = small_file / "prior"
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        convert(small_file, out, FLAGS)
    taken = tmp_path / "taken"
    taken.mkdir()
    assert "exists" in answered(small_file, taken)
    # Before it reads anything.
    assert "exists" in answered(tmp_path / "nowhere.pt", taken)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "exists" in answered(small_file, tmp_path / "link")
