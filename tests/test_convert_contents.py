"""Folders, shards, nested weights, averages, optimizers: what a checkpoint may hold."""

import functools
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_files import WRITERS, Raw, flat_state, zipped

from pigdm_convert import CheckpointError, read_checkpoint
from pigdm_jax.networks import (
    CheckpointFlags,
    DDPMConfig,
    DDPMUNet,
    parameter_shapes,
)
from pigdm_jax.networks.ddpm.keys import LAYOUTS, check_names, torch_names
from pigdm_jax.networks.ddpm.recognition import recognise

A, B = np.arange(6, dtype="f4").reshape(2, 3), np.arange(4, dtype="f4")
PLAIN = {"conv.weight": A, "conv.bias": B}
OTHER = {"conv.weight": A + 9, "conv.bias": B + 9}
ADAM = {
    "state": {0: {"step": 3, "exp_avg": None}},
    "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99), "amsgrad": False}],
}


def written(path, state, kind="zip"):
    """Write nested dictionaries of arrays and plain values as PyTorch does."""
    arrays: dict = {}

    def collect(value):
        for inner in value.values():
            if isinstance(inner, np.ndarray):
                arrays[str(len(arrays))] = inner
            elif isinstance(inner, dict):
                collect(inner)

    collect(state)
    views, storages = flat_state(arrays) if arrays else ({}, {})
    found = iter(views.values())

    def viewed(value):
        if isinstance(value, np.ndarray):
            return next(found)
        if isinstance(value, dict):
            return {key: viewed(inner) for key, inner in value.items()}
        return value

    path.write_bytes(WRITERS[kind](viewed(state), storages))
    return path


def under(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def check(checkpoint, *notes):
    assert list(checkpoint.tensors) == list(PLAIN)
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(tensor.read(), PLAIN[name])
    assert checkpoint.notes == notes


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("state", "notes"),
    [
        (under("module.", PLAIN), ()),
        ({"model": PLAIN}, ("took the weights in model",)),
        (
            {"state_dict": under("module.", PLAIN), "optimizer": ADAM, "epoch": 3},
            ("took the weights in state_dict; ignored optimizer, epoch",),
        ),
        (
            {"model": OTHER, "ema": PLAIN, "step": 9, "name": "mine"},
            ("took the averaged weights (EMA) in ema; ignored model, step, name",),
        ),
        (
            {"ema_model": {"state_dict": PLAIN}, "state_dict": OTHER},
            (
                "took the averaged weights (EMA) in ema_model; ignored state_dict",
                "took the weights in ema_model.state_dict",
            ),
        ),
        (
            under("online_model.", OTHER) | under("ema_model.", PLAIN) | {"step": B},
            ("ignored step", "took the averaged weights (EMA), ema_model.*"),
        ),
        (
            PLAIN | {"optimizer": ADAM, "global_step": 3},
            ("ignored global_step, optimizer",),
        ),
        (
            PLAIN | {"optimizer.state.0.exp_avg": A, "args": None},
            None,
        ),
    ],
)
def test_weights_are_found(kind, state, notes, tmp_path):
    path = written(tmp_path / "weights.pt", state, kind)
    if notes is None:
        with pytest.raises(CheckpointError, match="more than tensors: args"):
            read_checkpoint(path)
        return
    check(read_checkpoint(path), *notes)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"netG": PLAIN, "epoch": 3}, r"nested \(it holds netG, epoch\)"),
        ({"model": {"model": {"model": {"model": PLAIN}}}}, "not a state dict"),
        ({"model": {"optimizer": ADAM}}, "not a state dict"),
        ({"optimizer": ADAM}, "not a state dict"),
    ],
)
def test_what_holds_no_weights_is_refused(state, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(written(tmp_path / "weights.pt", state))


ATTRIBUTES = {
    "a number": b"X\x02\0\0\0lrG?\xf0\0\0\0\0\0\0s",
    "a path": b"X\x03\0\0\0outcpathlib\nPosixPath\n)Rs",
}


@pytest.mark.parametrize("way", ["REDUCE", "NEWOBJ"])
@pytest.mark.parametrize("name", ["argparse\nNamespace", "numpy\nfloat64"])
@pytest.mark.parametrize("attributes", ["none", *ATTRIBUTES])
def test_options_of_a_run_are_ignored_and_nothing_else_is_called(
    way, name, attributes, tmp_path
):
    call = {"REDUCE": b"R", "NEWOBJ": b"\x81"}[way]
    set_state = b"}" + ATTRIBUTES[attributes] + b"b" if attributes != "none" else b""
    options = Raw(b"c" + name.encode() + b"\n)" + call + set_state)
    states, storages = flat_state(PLAIN)
    state = {"model": states, "args": options}
    (tmp_path / "weights.pt").write_bytes(zipped(state, storages))
    if name.startswith("argparse") and attributes != "a path":
        assert set(read_checkpoint(tmp_path / "weights.pt").tensors) == set(PLAIN)
    else:
        with pytest.raises(CheckpointError, match="nothing was run"):
            read_checkpoint(tmp_path / "weights.pt")


STEM = "diffusion_pytorch_model"


@pytest.fixture
def sharded(tmp_path):
    """A folder with one tensor in each of two shards."""
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    table = {}
    for i, (name, array) in enumerate(PLAIN.items()):
        table[name] = f"{STEM}-0000{i + 1}-of-00002.safetensors"
        save_file({name: array}, tmp_path / table[name])
    index = {"metadata": {}, "weight_map": table}
    (tmp_path / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path, index


def test_shards_are_read(sharded):
    folder, _ = sharded
    found = read_checkpoint(folder)
    check(found)
    assert found.format == "safetensors, 2 shards" and len(found.files) == 2
    assert found.documents["config"] == {"_class_name": "UNet2DModel"}
    check(read_checkpoint(folder / f"{STEM}.safetensors.index.json"))


def test_an_index_that_is_wrong_is_refused(sharded):
    folder, index = sharded
    path = folder / f"{STEM}.safetensors.index.json"

    def refused(content):
        path.write_text(content)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(folder)
        return str(caught.value)

    table = index["weight_map"]
    shard = table["conv.weight"]
    for outside in ("../a.safetensors", "/etc/passwd", "..", "", 3, "a/b.safetensors"):
        changed = {"weight_map": table | {"conv.weight": outside}}
        assert "no file beside it" in refused(json.dumps(changed))
    more = {"weight_map": table | {"more": shard}}
    assert f"{shard} has no more" in refused(json.dumps(more))
    assert "has no weight_map" in refused("{}")
    for content in ("[]", "{", "[" * 100_000):
        assert "JSON" in refused(content)
    (folder / shard).unlink()
    assert f"its shard {shard} is missing" in refused(json.dumps(index))


def test_folders_are_read(tmp_path):
    root = tmp_path / "pipeline"
    for name in ("unet", "scheduler"):
        (root / name).mkdir(parents=True)
    (root / "unet/config.json").write_text("{}")
    (root / "scheduler/scheduler_config.json").write_text('{"beta_end": 0.01}')
    with pytest.raises(CheckpointError, match="other weights: none"):
        read_checkpoint(root)
    written(root / "unet/mine.pt", PLAIN)
    for path in (root, root / "unet"):
        found = read_checkpoint(path)
        check(found)
        assert found.documents["scheduler"] == {"beta_end": 0.01}
    written(root / "unet/other.pt", OTHER)
    with pytest.raises(CheckpointError, match=r"other weights: mine.pt, other.pt"):
        read_checkpoint(root)
    written(root / f"unet/{STEM}.bin", PLAIN)
    check(read_checkpoint(root))


CONFIG = DDPMConfig((32, 64), 1, (1,), (1,))


@functools.cache
def shapes_of(config, layout):
    """Shapes by PyTorch's names, in its order of axes."""
    names = torch_names(layout, len(config.block_out_channels))
    shapes = {}
    for path, leaf in jax.tree.leaves_with_path(parameter_shapes(DDPMUNet(config))):
        shape = leaf.shape
        if len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        elif path[-1].key == "kernel":
            shape = shape[::-1]
        shapes[names(tuple(entry.key for entry in path))] = shape
    return shapes


DIFFUSERS = {
    "_class_name": "UNet2DModel",
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "attention_head_dim": None,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "sample_size": 16,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_configuration_follows_from_each_layout(layout):
    documents = {"config": DIFFUSERS} if "diffusers" in layout else {}
    found = recognise(shapes_of(CONFIG, layout), CheckpointFlags(), documents)
    expected = {
        "flow": {"downsample_padding": 1, "clean_at_one": True},
        "original": {},
    }.get(layout, {"image_size": 16})
    assert found.network.config == DDPMConfig((32, 64), 1, (1,), (1,), **expected)
    assert (found.predicts, found.flow) == (
        ("v", True) if layout == "flow" else ("eps", False)
    )


PUBLIC = [
    (("original", (128, 128, 256, 256, 512, 512), 2, (4,)), "ddpm-celebahq-256", 256),
    (("original", (128, 256, 256, 256), 2, (1,)), "ddpm-cifar10-32", 32),
    (("flow", (32, 64, 128, 256), 6, (3,)), "pnpflow-celeba-128", 128),
    (("flow", (32, 64, 128, 256), 6, ()), "pnpflow-afhq-cat-256", 256),
]


@pytest.mark.parametrize(("form", "name", "side"), PUBLIC)
def test_public_checkpoints_are_recognised(form, name, side):
    layout, channels, blocks, attention = form
    config = DDPMConfig(channels, blocks, attention, attention)
    found = recognise(shapes_of(config, layout), CheckpointFlags())
    assert name in found.names and found.network.image_size == side
    flags = CheckpointFlags(image_size=64)
    assert recognise(shapes_of(config, layout), flags).overrides == (
        f"--image-size 64 instead of {side}",
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [({}, True), ({"norm_eps": 1e-5}, False), ({"sample_size": 64}, False)],
)
def test_a_network_of_another_configuration_is_no_public_one(change, named):
    config = DDPMConfig((128, 256, 256, 256), 2, (1,), (1,))
    document = DIFFUSERS | {
        "sample_size": 32,
        "block_out_channels": [128, 256, 256, 256],
        "layers_per_block": 2,
    }
    documents = {"config": document | change}
    found = recognise(shapes_of(config, "diffusers"), CheckpointFlags(), documents)
    assert ("ddpm-cifar10-32" in found.names) == named


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "_class_name"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type 'fourier'"),
        ({"down_block_types": ["SkipDownBlock2D"]}, "SkipDownBlock2D"),
        ({"down_block_types": 3}, "down_block_types 3"),
        ({"center_input_sample": True}, "center_input_sample True"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"downsample_type": "resnet"}, "downsample_type 'resnet'"),
        ({"mid_block_type": None}, "mid_block_type None"),
        ({"act_fn": ["silu"]}, "act_fn"),
        ({"norm_num_groups": 7}, "7 groups"),
        ({"norm_num_groups": "x"}, "norm_num_groups 'x'"),
        ({"norm_num_groups": 0}, "0 groups"),
        ({"attn_norm_num_groups": 7}, "7 groups do not divide 64"),
        ({"attention_head_dim": 24}, "width 24 do not divide the 64"),
        ({"attention_head_dim": 0}, "width 0"),
        ({"freq_shift": 16}, "freq_shift 16 is too large"),
        ({"sample_size": 15}, "image size must be a multiple of 2"),
        ({"block_out_channels": [32, 32]}, "the tensors have"),
        ({"layers_per_block": 2}, "the tensors have 1"),
    ],
)
def test_settings_of_other_networks_are_refused(change, words):
    shapes = shapes_of(CONFIG, "diffusers")
    with pytest.raises(CheckpointError, match=words):
        recognise(shapes, CheckpointFlags(), {"config": DIFFUSERS | change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler"),
        ({"_class_name": ["x"]}, "a DDPM's is"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
        ({"beta_end": 2}, "betas"),
        ({"beta_start": "x"}, "betas"),
        ({"trained_betas": []}, "betas"),
        ({"trained_betas": [0.1, float("nan")]}, "betas"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ({"prediction_type": "flow"}, "prediction_type 'flow'"),
        ({"rescale_betas_zero_snr": True}, "no signal"),
    ],
)
def test_schedules_of_other_kinds_are_refused(change, words):
    documents = {"config": DIFFUSERS, "scheduler": change}
    with pytest.raises(CheckpointError, match=words):
        recognise(shapes_of(CONFIG, "diffusers"), CheckpointFlags(), documents)


def test_flags_and_schedules_are_taken():
    shapes = shapes_of(CONFIG, "diffusers")

    def found(scheduler, **flags):
        documents = {"config": DIFFUSERS, "scheduler": scheduler}
        return recognise(shapes, CheckpointFlags(**flags), documents)

    assert found({}).schedule == "linear"
    assert found({"beta_schedule": "squaredcos_cap_v2"}).schedule == "cosine"
    given = found({"trained_betas": [0.1, 0.2], "prediction_type": "sample"})
    assert (given.schedule, given.predicts) == ((0.1, 0.2), "x0")
    other = found({}, schedule="cosine")
    assert other.schedule == "cosine"
    assert other.overrides == ("--schedule cosine instead of the file's",)
    for name, value in (("num_heads", 1), ("new_attention_order", False)):
        with pytest.raises(CheckpointError, match="a setting of the ADM UNet"):
            found({}, **{name: value})
    with pytest.raises(CheckpointError, match=r"need the config.json"):
        recognise(shapes, CheckpointFlags())


@pytest.mark.parametrize("layout", ["original", "flow"])
def test_tensors_that_are_wrong_are_refused(layout):
    shapes = shapes_of(CONFIG, layout)
    for change in list(shapes)[::9]:
        for other in (None, (), (0,)):
            changed = {k: s for k, s in shapes.items() if k != change}
            if other is not None:
                changed[change] = other
            try:
                found = recognise(changed, CheckpointFlags())
            except CheckpointError:
                continue
            with pytest.raises(CheckpointError):
                check_names(changed, found.network)
