"""What a network is: from its tensors, the public checkpoints, and flags."""

import dataclasses
import json

import golden
import pytest

from pigdm_convert import CheckpointError
from pigdm_jax.networks import CheckpointFlags as Flags
from pigdm_jax.networks import UNet
from pigdm_jax.networks.adm.inference import infer
from pigdm_jax.networks.adm.keys import check_names
from pigdm_jax.networks.adm.recognition import known_checkpoints, recognise

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
TINY = ["tiny_a", "tiny_b", "tiny_c", "tiny_d"]
HEADS = Flags(num_heads=1)


def manifest(shared, name):
    return json.loads((shared / f"golden/manifests/{name}.json").read_text())


def shapes_of(manifest):
    return {key: tuple(shape) for key, shape in dict(manifest["tensors"]).items()}


@pytest.fixture
def tiny(shared):
    return shapes_of(manifest(shared, "tiny_a"))


@pytest.fixture
def public(shared):
    return shapes_of(manifest(shared, "256x256_diffusion_uncond"))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_checkpoints_are_recognised_by_their_shapes(shared, name):
    known = manifest(shared, name)
    found = recognise(shapes_of(known), Flags())
    assert name in found.names
    assert found.network.config == golden.config_of(known)
    assert found.schedule == known["config"]["noise_schedule"]
    assert not found.assumptions and not found.overrides


def test_those_with_the_same_shapes_are_named_together(public):
    found = recognise(public, Flags())
    assert found.names == ("256x256_diffusion_uncond", "lsun_bedroom")
    names = [name for known in known_checkpoints().values() for name in known["names"]]
    assert sorted(names) == sorted([*PUBLIC, "photos-64"])


def test_the_prior_of_the_reference_data_is_for_any_size(shared):
    known = json.loads((shared / "priors/photos-64.json").read_text())
    found = recognise(shapes_of(known), Flags())
    assert found.names == ("photos-64",)
    assert found.network.config.image_size is None
    assert (
        found.network.config.num_head_channels == known["config"]["num_head_channels"]
    )
    assert found.schedule == known["config"]["noise_schedule"]


@pytest.mark.parametrize("name", [*PUBLIC, *TINY])
def test_what_tensors_decide_is_inferred(shared, name):
    known = manifest(shared, name)
    shapes = shapes_of(known)
    decided = infer(shapes)
    config = golden.config_of(known)
    # Where residual blocks change the resolution, nothing else could.
    undecided = {"conv_resample"} if config.resblock_updown else set()
    assert len(decided) == 10
    for key in decided.keys() - undecided:
        assert decided[key] == getattr(config, key), key
    check_names(shapes, UNet(config))


@pytest.mark.parametrize("name", TINY)
def test_others_are_inferred_with_the_help_of_flags(shared, name):
    unknown = manifest(shared, name)
    expected = golden.config_of(unknown)
    sizes = [str(expected.image_size // f) for f in expected.attention_resolutions]
    flags = Flags(
        num_head_channels=expected.num_head_channels,
        num_heads=expected.num_heads,
        num_heads_upsample=expected.num_heads_upsample,
        new_attention_order=expected.use_new_attention_order,
        image_size=expected.image_size,
        schedule="linear",
        attention_resolutions=",".join(sizes),
    )
    found = recognise(shapes_of(unknown), flags)
    assert found.network.config == expected
    assert found.names == found.assumptions == found.overrides == ()


def test_what_is_not_said_is_assumed_aloud(tiny):
    few = recognise(tiny, HEADS)
    assert few.schedule == "linear"
    assert not few.network.config.use_new_attention_order
    assert few.network.config.image_size is None
    assert few.assumptions == (
        "the legacy attention order (--new-attention-order)",
        "the linear schedule (--schedule)",
        "images of any size (--image-size)",
    )
    said = Flags(
        num_heads=1, new_attention_order=False, schedule="linear", image_size=64
    )
    assert recognise(tiny, said).assumptions == ()


@pytest.mark.parametrize("flags", [{}, {"num_heads": -1}, {"num_head_channels": -1}])
def test_the_width_of_heads_is_never_assumed(tiny, flags):
    with pytest.raises(CheckpointError, match="--num-head-channels or --num-heads"):
        recognise(tiny, Flags(**flags))


def test_flags_win_over_what_is_known_and_it_is_said(public):
    flags = Flags(num_head_channels=32, schedule="cosine", new_attention_order=False)
    found = recognise(public, flags)
    assert found.network.config.num_head_channels == 32
    assert found.schedule == "cosine"
    assert found.overrides == (
        "--num-head-channels 32 instead of 64",
        "--schedule cosine instead of linear",
    )
    heads = recognise(public, Flags(num_heads=8, num_heads_upsample=4))
    assert (heads.network.config.num_heads, heads.network.config.num_head_channels) == (
        8,
        -1,
    )
    assert "--num-head-channels -1 instead of 64" in heads.overrides
    as_published = Flags(num_heads=4, num_head_channels=64, num_heads_upsample=-1)
    assert recognise(public, as_published) == recognise(public, Flags())


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"num_head_channels": 7}, "7 does not divide the 64 channels"),
        ({"num_head_channels": 0}, "0 does not divide"),
        ({"num_heads": 3}, "3 attention heads do not divide"),
        ({"num_heads": 0}, "0 attention heads do not divide"),
        ({"num_heads": 4, "num_heads_upsample": 3}, "3 attention heads do not"),
        ({"num_head_channels": 16, "num_heads_upsample": 2}, "has no effect"),
        ({"image_size": 33}, "multiple of 4 for this network, got 33"),
        ({"image_size": -4}, "multiple of 4"),
        ({"attention_resolutions": "16"}, "needs --image-size"),
        ({"attention_resolutions": "16", "image_size": 32}, "attention at 16,8"),
        ({"attention_resolutions": "16,8", "image_size": 64}, "attention at 32,16"),
        ({"attention_resolutions": "ten", "image_size": 32}, "a list like 32,16,8"),
        ({"attention_resolutions": "16,0", "image_size": 32}, "a list like 32,16,8"),
    ],
)
def test_flags_that_contradict_are_refused(tiny, flags, words):
    flags = {"num_heads": 1} | flags if "num_head_channels" not in flags else flags
    with pytest.raises(CheckpointError, match=words):
        recognise(tiny, Flags(**flags))


def test_attention_that_the_network_never_comes_to_changes_nothing(tiny):
    flags = Flags(num_heads=1, image_size=32, attention_resolutions="16, 8, 4")
    assert recognise(tiny, flags).network.config.attention_resolutions == (2, 4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"time_embed.0.weight": None}, "there is no time_embed.0.weight"),
        ({"out.2.weight": None}, "there is no out.2.weight"),
        ({"time_embed.0.weight": ()}, "too few axes"),
        ({"time_embed.0.weight": (128, 0)}, "no elements: time_embed.0.weight"),
        ({"out.2.weight": (5, 32, 3, 3)}, "makes 5 channels of 3"),
        ({"middle_block.0.in_layers.9.bias": (3,)}, "not part of it: middle_block"),
        ({"out_0.bias": (32,)}, "not part of it: out_0.bias"),
        ({"out.0.bias": None}, "missing: out.0.bias"),
        ({"out.0.bias": (33,)}, r"of another shape: out.0.bias \(33,\)"),
        ({"middle_block.1.qkv.weight": (192, 64, 3)}, r"qkv.weight \(192, 64, 3\)"),
        ({"input_blocks.99.0.op.bias": (1,)}, "levels|input_blocks.99"),
        ({"input_blocks.99999.0.op.bias": (1,)}, "numbered consecutively"),
        ({f"output_blocks.{'9' * 5000}.0.op.bias": (1,)}, "not part of it"),
        (
            {"output_blocks.99999.0.in_layers.0.bias": (1,)},
            "numbered consecutively",
        ),
    ],
)
def test_wrong_tensors_are_named(tiny, change, words):
    shapes = {k: v for k, v in (tiny | change).items() if v is not None}
    with pytest.raises(CheckpointError, match=words):
        check_names(shapes, recognise(shapes, HEADS).network)


def test_every_wrong_tensor_is_named(tiny):
    config = recognise(tiny, HEADS).network.config
    shapes = tiny | {"extra.weight": (3,), "more.bias": (4,), "out.2.bias": (7,)}
    del shapes["out.0.bias"], shapes["time_embed.2.weight"]
    with pytest.raises(CheckpointError) as caught:
        check_names(shapes, UNet(config))
    sentence = str(caught.value)
    assert "missing: " in sentence
    assert "out.0.bias" in sentence and "time_embed.2.weight" in sentence
    assert "not part of it: extra.weight, more.bias" in sentence
    assert "of another shape: out.2.bias (7,)" in sentence


def test_other_networks_are_told_apart(tiny):
    halved = {
        key: tuple(n // 2 if n % 32 == 0 else n for n in shape)
        for key, shape in tiny.items()
    }
    with pytest.raises(CheckpointError, match="group norms need multiples of 32"):
        recognise(halved, HEADS)
    prefixed = {f"module.{key}": shape for key, shape in tiny.items()}
    with pytest.raises(CheckpointError, match="while there is module"):
        recognise(prefixed, HEADS)
    with pytest.raises(CheckpointError, match="not those of an ADM UNet"):
        recognise({"conv1.weight": (4, 3, 3, 3)}, HEADS)


def test_flags_are_those_of_the_configuration():
    names = {field.name for field in dataclasses.fields(Flags)}
    settings = {
        name for known in known_checkpoints().values() for name in known["settings"]
    }
    assert settings == names - {"attention_resolutions"}


def test_a_tensor_of_another_shape_is_never_taken(tiny):
    """Missing, scalar, a vector, an axis more, or doubled: some tensors."""
    for key, shape in list(tiny.items())[::20]:
        for other in (None, (), (1,), (*shape, 1), tuple(2 * n for n in shape)):
            # (out, in, 1) is the same matrix as (out, in): attention writes it so.
            if other == shape or (other == (*shape, 1) and len(shape) in (2, 3)):
                continue
            changed = {k: s for k, s in tiny.items() if k != key}
            if other is not None:
                changed[key] = other
            with pytest.raises(CheckpointError):
                check_names(changed, recognise(changed, HEADS).network)
