"""Priors on disk: what is saved is loaded, what is wrong is refused."""

import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import (
    Schedule,
    UNet,
    UNetConfig,
    load_prior,
    network_prior,
    save_prior,
    shipped_priors,
)
from pigdm_jax.weights.conversion import convert

CONFIG = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(),
    num_classes=3,
)


@pytest.fixture(scope="module")
def params():
    x, t, label = jnp.zeros((1, 8, 8, 3)), jnp.zeros(1), jnp.zeros(1, int)
    return jax.jit(UNet(CONFIG).init)(jax.random.key(0), x, t, label)["params"]


SCHEDULES = [Schedule.linear(), Schedule.cosine(50), Schedule.from_betas([0.1, 0.3])]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine", "betas"])
def test_what_is_saved_is_loaded(params, schedule, tmp_path):
    save_prior(tmp_path / "prior", UNet(CONFIG), params, schedule, {"file": "none"})
    prior = load_prior(tmp_path / "prior", label=2)
    assert prior.network.config == CONFIG and prior.schedule == schedule
    assert prior.label == 2
    for ours, theirs in zip(
        jax.tree.leaves(prior.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert [p.name for p in tmp_path.iterdir()] == ["prior"]


def test_what_a_network_predicts_is_saved(params, tmp_path):
    path = tmp_path / "prior"
    save_prior(path, UNet(CONFIG), params, "linear", {}, "v", flow=True)
    prior = load_prior(path, label=0)
    assert (prior.predicts, prior.flow) == ("v", True)
    metadata = json.loads((path / "prior.json").read_text())
    (path / "prior.json").write_text(json.dumps(metadata | {"flow": "yes"}))
    with pytest.raises(ValueError, match="flow is damaged"):
        load_prior(path, label=0)


def test_a_network_trained_by_flow_matching(params):
    schedule = Schedule.linear()
    x_t, t = jax.random.normal(jax.random.key(3), (8, 8, 3)), 300
    prior = network_prior(UNet(CONFIG), params, schedule, 1, predicts="x0", flow=True)
    a = np.sqrt(schedule.alpha_bar[t])
    s = np.sqrt(1 - schedule.alpha_bar[t])
    out = UNet(CONFIG).apply(
        {"params": params},
        x_t[None] / (a + s),
        jnp.array([s / (a + s)]),
        jnp.array([1]),
    )
    expected = (x_t - a * out[0, ..., :3]) / s
    np.testing.assert_allclose(prior(x_t, t), expected, rtol=1e-4, atol=1e-4)


def test_what_the_metadata_lacks_is_named(params, tmp_path):
    path = tmp_path / "prior"
    save_prior(path, UNet(CONFIG), params, "linear", {})
    metadata = json.loads((path / "prior.json").read_text())
    for name in ("predicts", "arrays"):
        rest = {key: value for key, value in metadata.items() if key != name}
        (path / "prior.json").write_text(json.dumps(rest))
        with pytest.raises(ValueError, match=rf"prior\.json lacks {name}"):
            load_prior(path, label=0)
    (path / "prior.json").write_text(json.dumps(metadata | {"architecture": "vit"}))
    with pytest.raises(ValueError, match="architecture 'vit'"):
        load_prior(path, label=0)
    (path / "prior.json").write_text(json.dumps(metadata | {"format_version": 1}))
    with pytest.raises(ValueError, match=r"format version 1, and .* reads version 2"):
        load_prior(path, label=0)


def test_a_flipped_byte_is_found(params, tmp_path):
    path = tmp_path / "prior"
    save_prior(path, UNet(CONFIG), params, "linear", {}, trained_size=8)
    whole = load_prior(path, label=0)
    assert whole.trained_size == 8
    files = [file for file in (path / "params").rglob("*") if file.is_file()]
    files = [file for file in files if file.stat().st_size]
    assert len(files) > 3
    for file in files:
        kept = file.read_bytes()
        flipped = bytearray(kept)
        flipped[len(kept) // 2] ^= 0x10
        file.write_bytes(flipped)
        with pytest.raises(ValueError, match=f"{file} is damaged"):
            load_prior(path, label=0)
        file.write_bytes(kept)
    load_prior(path, label=0)
    files[0].unlink()
    with pytest.raises(ValueError, match=f"{files[0]} is missing"):
        load_prior(path, label=0)


def test_an_array_that_is_another_is_named(params, tmp_path):
    path = tmp_path / "prior"
    save_prior(path, UNet(CONFIG), params, "linear", {})
    metadata = json.loads((path / "prior.json").read_text())
    name = sorted(metadata["arrays"])[3]
    metadata["arrays"][name] = 64 * "0"
    (path / "prior.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=f"the array {name} is not the one"):
        load_prior(path, label=0)


def test_a_super_resolution_prior_takes_the_small_image(tmp_path):
    config = UNetConfig(
        model_channels=32,
        channel_mult=(1,),
        num_res_blocks=1,
        attention_resolutions=(),
        in_channels=6,
    )
    x, small = jnp.ones((8, 8, 3)), jnp.ones((2, 2, 3))
    init = jax.jit(UNet(config).init)
    params = init(jax.random.key(0), x[None], jnp.zeros(1), None, x[None])["params"]
    save_prior(tmp_path / "prior", UNet(config), params, "linear", {}, sees="upsample")
    prior = load_prior(tmp_path / "prior")
    assert prior.sees == "upsample"
    with pytest.raises(ValueError, match="takes an image besides x_t"):
        prior(x, 5)
    one, two = (prior.condition(image=s * small) for s in (0.0, 1.0))
    assert one(x, 5).shape == x.shape
    assert jnp.abs(one(x, 5) - two(x, 5)).max() > 1e-3


def test_a_failure_while_saving_leaves_nothing(params, tmp_path):
    with pytest.raises(TypeError):
        save_prior(
            tmp_path / "prior", UNet(CONFIG), params, "linear", {"file": object()}
        )
    assert list(tmp_path.iterdir()) == []


def test_wrong_folders_are_answered(params, tmp_path):
    with pytest.raises(ValueError, match=r"no prior .photo"):
        load_prior("photo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no readable prior\.json"):
        load_prior(tmp_path / "empty")
    path = tmp_path / "prior"
    save_prior(path, UNet(CONFIG), params, "linear", {})
    with pytest.raises(ValueError, match="exists"):
        save_prior(path, UNet(CONFIG), params, "linear", {})
    with pytest.raises(ValueError, match="class label, 0 to 2"):
        load_prior(path)

    metadata = json.loads((path / "prior.json").read_text())
    (path / "prior.json").write_text(json.dumps(metadata | {"format_version": 99}))
    with pytest.raises(ValueError, match="format version 99"):
        load_prior(path)
    metadata["config"]["model_channels"] = 64
    (path / "prior.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="do not fit"):
        load_prior(path, label=0)


def test_the_shipped_prior_denoises_any_size():
    assert "photos-64" in shipped_priors()
    prior = load_prior("photos-64")
    assert prior.image_shape is None and prior.multiple == 8
    # A smooth ramp with the noise of step 200 is told apart from its noise.
    x0 = jnp.broadcast_to(jnp.linspace(-0.5, 0.5, 48)[:, None], (32, 48, 3))
    z = jax.random.normal(jax.random.key(0), x0.shape)
    a = prior.schedule.alpha_bar[200]
    eps = prior(np.sqrt(a) * x0 + np.sqrt(1 - a) * z, 200)
    assert jnp.mean((eps - z) ** 2) < 0.05


def test_half_precision_storage_is_negligible(shared, tmp_path):
    convert(shared / "priors/photos-64.pt", tmp_path / "full")
    full = load_prior(tmp_path / "full")
    weights = jax.tree.map(lambda a: np.asarray(a, np.float16), full.params)
    save_prior(tmp_path / "half", full.network, weights, full.schedule, {})
    half = load_prior(tmp_path / "half")
    x = jax.random.normal(jax.random.key(0), (64, 64, 3))
    predict = jax.jit(lambda prior, t: prior(x, t))
    for t in (0, 50, 500, 999):
        assert golden.relative_error(predict(half, t), predict(full, t)) < 1e-3
