"""Every architecture does what the rest of the package asks of a network."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures_on_devices import SIDE, batch, problem_of, restore_batch, sampler
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.cli.main import bench
from pigdm_jax.networks import ARCHITECTURES, architecture_of, parameter_shapes
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.loop import train
from pigdm_jax.training.start import check_network, initial_network, saved_start
from pigdm_jax.weights.store import save_prior

# A small configuration of each architecture; settings of a saved prior.
SMALL = {
    "adm": (
        {
            "model_channels": 32,
            "channel_mult": [1],
            "num_res_blocks": 1,
            "attention_resolutions": [],
            "image_size": SIDE,
        },
        {},
    ),
    "ddpm": (
        {
            "block_out_channels": [16],
            "layers_per_block": 1,
            "down_attention": [],
            "up_attention": [],
            "image_size": SIDE,
            "norm_num_groups": 4,
            "mid_norm_groups": 4,
        },
        {},
    ),
    "ddpm, flow": (
        {
            "block_out_channels": [16],
            "layers_per_block": 1,
            "down_attention": [],
            "up_attention": [],
            "mid_attention": False,
            "image_size": SIDE,
            "norm_num_groups": 8,
            "mid_norm_groups": 8,
            "downsample_padding": 1,
            "clean_at_one": True,
        },
        {"predicts": "v", "flow": True},
    ),
    "jit": (
        {
            "image_size": SIDE,
            "patch_size": 2,
            "hidden_size": 32,
            "depth": 2,
            "num_heads": 2,
            "mlp_size": 40,
            "bottleneck_dim": 8,
            "num_classes": 3,
            "in_context_len": 2,
            "in_context_start": 1,
        },
        {"predicts": "x0", "flow": True},
    ),
}


@pytest.fixture(params=SMALL)
def name(request):
    return request.param


@functools.cache
def network(name):
    config, _ = SMALL[name]
    return ARCHITECTURES[name.split(",")[0]].build(config)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function from a name to a saved prior with random weights."""

    @functools.cache
    def saved(name):
        rng = np.random.default_rng(0)
        net = network(name)

        def random(leaf):
            scale = np.sqrt(np.prod(leaf.shape[:-1]) or 1)
            return (rng.normal(size=leaf.shape) / max(scale, 3)).astype("f4")

        params = jax.tree.map(random, parameter_shapes(net))
        folder = tmp_path_factory.mktemp("saved") / "prior"
        how = SMALL[name][1]
        save_prior(folder, net, params, "linear", {}, trained_size=SIDE, **how)
        return folder

    return saved


@pytest.fixture(scope="module")
def together(folders):
    """A function from a name to the images of `restore_batch`."""
    return functools.cache(lambda name: restore_batch(pj.load_prior(folders(name))))


def test_each_is_here():
    assert {name.split(",")[0] for name in SMALL} == set(ARCHITECTURES)
    for name in SMALL:
        assert architecture_of(network(name)) == name.split(",")[0]


def test_a_saved_prior_restores_photos_and_larger_ones(name, folders):
    prior = pj.load_prior(folders(name))
    assert prior.image_shape == (SIDE, SIDE, 3)
    assert prior.network == network(name)
    key = jax.random.key(1)
    image = pj.restore(prior, problem_of(SIDE), key, sampler())
    assert image.shape == (SIDE, SIDE, 3) and np.isfinite(image).all()
    wide = pj.tiled(prior, SIDE, SIDE // 2)
    problem = problem_of(12)
    image = pj.restore(wide, problem, key, sampler())
    assert image.shape == (12, 12, 3) and np.isfinite(image).all()


def test_a_batch_is_its_images_alone(name, folders, together):
    prior = pj.load_prior(folders(name))
    for image, problem, key in zip(together(name), *batch(), strict=True):
        alone = pj.restore(prior, problem, key, sampler())
        np.testing.assert_allclose(image, alone, atol=2e-4)


def test_eight_devices_restore_a_batch_as_one_does(folders, together, tmp_path):
    """Images over 4, and weights over 2."""
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script = Path(__file__).with_name("architectures_on_devices.py")
    names = [name for name in SMALL if name in ARCHITECTURES]  # one of each
    saved = json.dumps({name: str(folders(name)) for name in names})
    out = tmp_path / "images.npz"
    subprocess.run([sys.executable, script, out, saved], env=environment, check=True)
    with np.load(out) as images:
        for name in names:
            np.testing.assert_allclose(images[name], together(name), atol=2e-4)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_bench_times_it(name, folders, monkeypatch, capsys):
    monkeypatch.setattr("pigdm_jax.devices.timing.matrix_ceiling", lambda: 1e12)
    bench(str(folders(name)), size=SIDE, steps=1, rounds=1)
    printed = capsys.readouterr().out
    assert "ms an evaluation and picture" in printed and "GFLOP/s" in printed


def test_types_and_recomputation_are_options(name, folders):
    x = jax.random.normal(jax.random.key(0), (SIDE, SIDE, 3))

    def gradient(**options):
        prior = pj.load_prior(folders(name), **options)

        @jax.jit
        def pull(x):
            eps, back = jax.vjp(lambda x: prior(x, 400.0), x)
            return eps, back(jnp.ones_like(eps))[0]

        return pull(x)

    exact, again = gradient(), gradient(remat=True)
    for a, b in zip(again, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())
    coarse = gradient(dtype=jnp.bfloat16)
    for a, b in zip(coarse, exact, strict=True):
        assert a.dtype == jnp.float32
        assert 1e-6 < golden.relative_error(a, b) < 0.1


@pytest.mark.parametrize(
    "name", sorted(SMALL.keys() - {"adm"})
)  # test_training.py has ADM.
def test_training_goes_on_from_a_saved_network(name, folders, tmp_path, monkeypatch):
    """Without classes, which a network with a label for no class does not need."""
    # test_training.py has the samples of a run, whose program takes as long to compile.
    monkeypatch.setattr("pigdm_jax.training.phases.write_samples", lambda *args: None)
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(4):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    config = TrainConfig(
        init=str(folders(name)),
        steps=1,
        batch=4,
        crop=(SIDE,),
        sample_every=99,
        **SMALL[name][1],
    )
    before = pj.load_prior(folders(name))
    trained = pj.load_prior(train(photos, tmp_path / "run", config))
    assert trained.network.config == network(name).config
    assert (trained.flow, trained.predicts) == (before.flow, before.predicts)
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), trained.params, before.params
    )
    assert max(jax.tree.leaves(moved)) > 0


def test_training_refuses_what_does_not_fit_the_saved_network(name, folders):
    fits = {"init": str(folders(name)), "crop": (SIDE,), **SMALL[name][1]}
    grown = {"crop": (2 * SIDE,)}
    other = {"flow": True, "predicts": "v"}
    if fits.get("flow"):
        other = {"flow": False}
    for changes, message in (
        (grown, f"takes images of {SIDE} pixels; give --crop {SIDE}, got {2 * SIDE}"),
        (other, f"--flow must be as it was.*: {'off' if other['flow'] else 'on'}"),
        ({"schedule": "cosine"}, "--schedule must be as it was"),
        ({"condition": "denoise"}, "--condition must be as it was"),
    ):
        with pytest.raises(ValueError, match=message):
            saved_start(TrainConfig(**{**fits, **changes}))
    config, saved = TrainConfig(**fits), saved_start(TrainConfig(**fits))
    if network(name).num_classes is None:
        with pytest.raises(ValueError, match="--classes must be as it was"):
            saved_start(dataclasses.replace(config, classes=True))
    else:
        with pytest.raises(ValueError, match=r"of 2 classes, and the prior .* has 3"):
            initial_network(config, saved, 2)
    channels = {"in_channels": 1}
    if hasattr(network(name).config, "out_channels"):
        channels["out_channels"] = 1
    grey = dataclasses.replace(network(name).config, **channels)
    with pytest.raises(ValueError, match="3 channels"):
        check_network(config, network(name).clone(config=grey))
