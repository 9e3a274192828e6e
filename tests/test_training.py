"""Training: exact resumption, the same batches everywhere, a prior that works."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from PIL import Image

from pigdm_jax import Problem, load_prior, restore, save_prior
from pigdm_jax import operators as ops
from pigdm_jax.cli import main as cli
from pigdm_jax.core.compilation import keep_compiled
from pigdm_jax.samplers import DDIM
from pigdm_jax.training.checkpoints import Checkpoints
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.crops import crop_batches
from pigdm_jax.training.loop import averaged_prior, train
from pigdm_jax.training.noise import noisy
from pigdm_jax.training.phases import Run
from pigdm_jax.training.photos import load_photos
from pigdm_jax.training.step import (
    init_state,
    interval_weights,
    make_optimizer,
    make_step,
)

TINY = TrainConfig(
    steps=6,
    batch=8,
    crop=(8,),
    channels=32,
    channel_mult=(1,),
    attention=(),
    warmup=2,
    log_every=1,
    save_every=2,
    sample_every=6,
    held_out=0.3,
)
# Orbax tells that it restores without a file about devices; tensorboardX uses protobuf.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def programs_of_other_runs(tmp_path_factory):
    """Runs of one configuration share their compiled programs, as JAX caches them."""
    kept = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: getattr(jax.config, name) for name in kept}
    for values in (kept, before):
        for name, value in values.items():
            jax.config.update(name, value)
        reset_cache()
        if values is kept:
            yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six pictures in two folders."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(6):
        place = folder / ("red" if i % 2 else "blue")
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (24, 20 + i, 3)).astype(np.uint8)
        pixels[..., 2 * (1 - i % 2)] //= 8
        Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def everything(run):
    """A finished run's last state and its figures."""
    state = jax.jit(lambda: init_state(TINY, TINY.network(None)))()
    with Checkpoints(run / "checkpoints") as checkpoints:
        state = checkpoints.restore(state)
    return state, (run / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def whole_run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert train(photos, out, TINY) == out / "prior"
    return out


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(photos, whole_run, tmp_path):
    def fail(step, loss, speed):
        if step == 5:  # one step past the last checkpoint
            raise KeyError("power failure")

    with pytest.raises(KeyError):
        train(photos, tmp_path, TINY, fail)

    def stop(step, loss, speed):
        os.kill(os.getpid(), signal.SIGTERM)

    assert train(photos, tmp_path, TINY, stop) is None  # after one more step
    assert not (tmp_path / "prior").exists()
    train(photos, tmp_path, TINY)
    one, two = everything(whole_run), everything(tmp_path)
    assert one[1] == two[1] and one[1].count("\n") == 1 + TINY.steps
    jax.tree.map(np.testing.assert_array_equal, one[0], two[0])
    pictures = [
        np.asarray(Image.open(run / "samples/0000006.png"))
        for run in (whole_run, tmp_path)
    ]
    np.testing.assert_array_equal(*pictures)


def test_a_preempted_run_saves_its_step_and_writes_no_prior(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(Checkpoints, "reached_preemption", lambda self, step: step == 1)
    config = dataclasses.replace(TINY, crop=(8, 4), crop_shares=(0.5, 0.5))
    assert train(photos, tmp_path, config) is None
    assert not (tmp_path / "prior").exists()
    assert averaged_prior(tmp_path)[1] == 1


def test_the_result_is_a_prior(whole_run):
    prior = load_prior(whole_run / "prior")
    operator = ops.inpaint((10, 8, 3), ops.random_mask((10, 8, 3), 0.5, 0))
    problem = Problem(operator, jnp.zeros((10, 8, 3)))
    image = restore(prior, problem, jax.random.key(0), DDIM(2))
    assert image.shape == (10, 8, 3) and jnp.isfinite(image).all()


def held_out_losses(run):
    with (run / "metrics.csv").open() as file:
        rows = csv.DictReader(file)
        return [float(r["held_out_loss"]) for r in rows if r["held_out_loss"]]


def test_a_run_goes_on_from_a_prior_without_a_dip(photos, whole_run, tmp_path):
    old = load_prior(whole_run / "prior")
    begin, run = tmp_path / "begin", tmp_path / "run"
    save_prior(begin, old.network, old.params, old.schedule, {}, trained_size=24)
    # The prior's own network is taken, whatever the flags of the network.
    config = dataclasses.replace(
        TINY, init=str(begin), channels=64, sample_every=1, steps=2
    )
    train(photos, run, config)
    before, after = held_out_losses(whole_run)[-1], held_out_losses(run)
    np.testing.assert_allclose(after, before, rtol=5e-3)
    new = load_prior(run / "prior")
    # The crops of this run are smaller.
    assert new.trained_size == averaged_prior(run)[0].trained_size == 24
    assert new.network.config == old.network.config
    assert jax.tree.map(jnp.shape, new.params) == jax.tree.map(jnp.shape, old.params)


def test_the_averaged_weights_can_be_had_while_a_run_goes_on(whole_run, tmp_path):
    prior, step = averaged_prior(whole_run)
    assert step == TINY.steps
    jax.tree.map(
        np.testing.assert_array_equal,
        prior.params,
        load_prior(whole_run / "prior").params,
    )
    (tmp_path / "config.json").write_text(TINY.to_json())
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        averaged_prior(tmp_path)


def test_x_t_and_the_target_give_the_image_back():
    image = jax.random.uniform(jax.random.key(2), (8, 4, 4, 3), minval=-1)
    batch = {"image": image, "index": jnp.arange(8)}
    alpha_bar = TINY.noise_schedule().alpha_bar
    for spacing, power in (("uniform", 1), ("quadratic", 2)):
        steps = []
        for predicts in ("eps", "v"):
            config = dataclasses.replace(TINY, predicts=predicts, spacing=spacing)
            x_t, t, target, _, interval = noisy(
                batch, config, jax.random.key(0), jnp.int32(3), 8
            )
            assert len(set(interval.tolist())) == 8
            a = np.sqrt(alpha_bar[np.asarray(t, int)])[:, None, None, None]
            s = np.sqrt(1 - a**2)
            x0 = a * x_t - s * target if predicts == "v" else (x_t - s * target) / a
            error = np.abs(x0 - image).max((1, 2, 3)) * a.ravel()
            assert error.max() < 1e-5
            steps.append(np.sort(t))
        np.testing.assert_array_equal(*steps)
        # One timestep in each eighth, in the spacing's own measure.
        eighths = np.floor(8 * (steps[0] / 1000 + 1e-3) ** (1 / power))
        assert np.abs(eighths - np.arange(8)).max() <= 1


def test_balanced_weights_make_relative_errors_count_alike():
    losses = jnp.array([1.0, 0.5, 0.1])
    weights = interval_weights(losses)
    np.testing.assert_allclose(weights * losses, (weights * losses)[0], rtol=1e-6)
    assert float(weights.mean()) == pytest.approx(1)
    # A run tracks the loss of every interval of noise levels.
    config = dataclasses.replace(TINY, weighting="balanced", spacing="quadratic")
    state = jax.jit(lambda: init_state(config, config.network(None)))()
    update = jax.jit(make_step(config, config.network(None), 8))
    batch = {"image": np.zeros((8, 8, 8, 3)), "label": np.zeros(8, np.int32)}
    after = update(state, batch | {"index": np.arange(8, dtype=np.int32)})
    changed = np.asarray(after.interval_loss != state.interval_loss)
    assert changed.sum() == 8 and np.isfinite(after.interval_loss).all()


def test_the_learning_rate_rises_stays_and_falls():
    config = dataclasses.replace(TINY, steps=100, warmup=10, decay=0.2, lr=1e-3)
    rate = make_optimizer(config)[1]
    rates = [float(rate(step)) for step in (0, 5, 10, 50, 79, 90, 100)]
    expected = [0, 5e-4, 1e-3, 1e-3, 1e-3, 5e-4, 0]
    np.testing.assert_allclose(rates, expected, atol=1e-8)
    constant = make_optimizer(dataclasses.replace(config, decay=0.0))[1]
    assert float(constant(100)) == pytest.approx(1e-3)


def test_batches_depend_on_the_step_alone(photos):
    data = load_photos(photos, 8, 0.3, False)
    config = dataclasses.replace(TINY, crop=(8, 16), crop_shares=(0.5, 0.5))
    small, large = config.phases()
    assert (small.batch, large.batch, large.offset) == (8, 2, 24)
    from_start = list(crop_batches(data.train, small, 0, seed=0))
    assert len(from_start) == 3
    later = list(crop_batches(data.train, small, 2, seed=0))
    halves = [list(crop_batches(data.train, small, 0, 0, p, 2)) for p in (0, 1)]
    for name in ("image", "label", "index"):
        np.testing.assert_array_equal(from_start[2][name], later[0][name])
        for step, batch in enumerate(from_start):
            np.testing.assert_array_equal(batch[name][::2], halves[0][step][name])
            np.testing.assert_array_equal(batch[name][1::2], halves[1][step][name])
    assert from_start[0]["image"].shape == (8, 8, 8, 3)
    assert np.abs(from_start[0]["image"]).max() <= 1
    assert list(from_start[1]["index"]) == list(range(8, 16))
    other = next(crop_batches(data.train, small, 0, seed=1))
    assert np.abs(other["image"] - from_start[0]["image"]).max() > 0.1
    first_large = next(crop_batches(data.train, large, large.first, seed=0))
    assert first_large["image"].shape == (2, 16, 16, 3)
    assert list(first_large["index"]) == [24, 25]


def test_an_archive_is_as_good_as_a_folder(photos, tmp_path):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in photos.rglob("*.png"):
            file.write(path, path.relative_to(photos).as_posix())
    one, two = (load_photos(source, 8, 0.3, True) for source in (photos, archive))
    assert one.classes == two.classes == ("blue", "red")
    for a, b in zip(one.train + one.held_out, two.train + two.held_out, strict=True):
        assert a.name == b.name and a.label == b.label
        jax.tree.map(np.testing.assert_array_equal, a.scales, b.scales)
    assert {p.name for p in one.train}.isdisjoint(p.name for p in one.held_out)


DEVICES = """
import sys
from pathlib import Path
import jax
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.loop import train
assert jax.device_count() == 8
config = TrainConfig(**eval(sys.argv[3]))
train(Path(sys.argv[1]), Path(sys.argv[2]), config)
"""


def test_eight_devices_train_as_one(photos, whole_run, tmp_path):
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    config = repr(dataclasses.asdict(TINY))
    subprocess.run(
        [sys.executable, "-c", DEVICES, photos, tmp_path, config],
        env=os.environ | {"XLA_FLAGS": flags},
        check=True,
    )
    one, eight = (
        np.genfromtxt(run / "metrics.csv", delimiter=",", skip_header=1)
        for run in (whole_run, tmp_path)
    )
    np.testing.assert_allclose(one, eight, rtol=1e-3)


def test_a_network_learns_one_photo():
    config = dataclasses.replace(TINY, steps=150, lr=3e-3, warmup=10)
    net = config.network(None)
    state = jax.jit(lambda: init_state(config, config.network(None)))()
    update = jax.jit(make_step(config, net, 8))
    image = np.broadcast_to(np.linspace(-1, 1, 8)[:, None, None], (8, 8, 8, 3))
    losses = []
    for i in range(config.steps):
        index = np.arange(8 * i, 8 * i + 8, dtype=np.int32)
        batch = {"image": image, "label": np.zeros(8, np.int32), "index": index}
        state = update(state, batch)
        losses.append(float(state.loss))
    # A network that knows nothing predicts 0 and loses the variance of eps.
    assert 0.9 < losses[0] < 1.2 and losses[-1] < 0.3


def test_classes_make_a_prior_that_takes_a_label(photos, tmp_path):
    config = dataclasses.replace(TINY, steps=2, sample_every=2, classes=True)
    prior = load_prior(train(photos, tmp_path / "classes", config), label=1)
    assert jnp.isfinite(prior(jnp.zeros((8, 8, 3)), 500)).all()


def test_a_condition_makes_a_prior_for_its_task(photos, tmp_path, monkeypatch):
    """The command restores by it: it shows the prior the pseudoinverse by itself."""
    task = "super_resolution:2,box"
    config = dataclasses.replace(TINY, steps=2, condition=task)
    folder = train(photos, tmp_path / "run", config)
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "kept"))
    Image.fromarray(pixels).save("small.png")
    words = ["restore", "small.png", "--task", task, "--prior", folder, "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["pigdm", *map(str, words)])
    cli.main()
    keep_compiled("none")
    with Image.open("small-restored.png") as picture:
        assert picture.size == (8, 8)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"crop": (8, 16)}, "crop and crop_shares go together"),
        ({"crop": (9,), "channel_mult": (1, 1)}, "multiples of 2"),
        ({"channels": 48}, "multiple of 32"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"crop_shares": (0.5,)}, "add up to 1"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1"),
        ({"crop": (64,)}, "pixels, fewer than 64"),
    ],
)
def test_flags_that_make_no_sense_are_refused(photos, tmp_path, change, message):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train(photos, out, dataclasses.replace(TINY, **change))
    assert not out.exists()


def test_a_prior_of_another_kind_is_refused(photos, whole_run, tmp_path):
    begin = str(whole_run / "prior")
    for change in (
        {"predicts": "v"},
        {"schedule": "cosine"},
        {"classes": True},
        {"condition": "denoise"},
    ):
        config = dataclasses.replace(TINY, init=begin, **change)
        with pytest.raises(ValueError, match=f"--{next(iter(change))} must be as it"):
            train(photos, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_folders_that_do_not_fit_are_refused(photos, whole_run, tmp_path):
    with pytest.raises(ValueError, match="is finished"):
        train(photos, whole_run, TINY)
    (tmp_path / "config.json").write_text(TINY.to_json())
    with pytest.raises(ValueError, match="started with batch 8, not 16"):
        train(photos, tmp_path, dataclasses.replace(TINY, batch=16))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="contains no photos"):
        load_photos(empty, 8, 0.1, False)
    with pytest.raises(ValueError, match="neither a folder nor a"):
        load_photos(tmp_path / "config.json", 8, 0.1, False)
    (empty / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken.png is not a picture"):
        load_photos(empty, 8, 0.1, False)
    with pytest.raises(ValueError, match=r"every photo must"):
        load_photos(empty, 8, 0.1, True)


def test_a_batch_that_does_not_fit_is_refused(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("pigdm_jax.training.phases.device_memory", lambda _: 10**6)
    message = r"8 crops of 8 pixels needs 0.0 GB .* choose a smaller --batch .*--remat"
    with pytest.raises(ValueError, match=message):
        train(photos, tmp_path / "run", TINY)
    assert not (tmp_path / "run" / "config.json").exists()


def test_only_the_phases_that_remain_are_compiled(photos, monkeypatch):
    config = dataclasses.replace(TINY, crop=(8, 16), crop_shares=(0.5, 0.5))
    run = Run(config, load_photos(photos, 16, 0.3, False), None)
    monkeypatch.setattr(Run, "_update", lambda self, phase, state: max)
    assert [phase.crop for phase in run.updates(2)] == [8, 16]
    assert [phase.crop for phase in run.updates(3)] == [16]
    assert not run.updates(6)


def test_photos_that_cannot_be_used_are_skipped_and_named(photos, tmp_path, caplog):
    for photo in photos.rglob("*.png"):
        shutil.copy(photo, tmp_path / photo.name)
    whole = load_photos(tmp_path, 8, 0.3, False)
    assert not caplog.records
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 4)).save(tmp_path / "small.png")
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    partial = load_photos(tmp_path, 8, 0.3, False)
    names = [
        [photo.name for photo in [*d.train, *d.held_out]] for d in (partial, whole)
    ]
    assert names[0] == names[1] and len(names[0]) == 6
    (record,) = caplog.records
    text = record.getMessage()
    count = len(whole.train) + len(whole.held_out) + 3
    assert text.startswith(f"3 of {count} photos are skipped: ")
    for reason in ("broken.png is not a", "moves.gif holds 2", "small.png has 64 x 4"):
        assert reason in text


def test_muon_makes_the_update_of_every_kernel_orthogonal():
    config = dataclasses.replace(TINY, optimizer="muon", weight_decay=0.0, lr=0.01)
    optimizer, _ = make_optimizer(config)
    params = {"kernel": jnp.zeros((3, 3, 32, 32)), "bias": jnp.zeros(32)}
    key = jax.random.key(0)
    gradient = jax.tree.map(
        lambda a: jnp.linspace(0.1, 1, 32) * jax.random.normal(key, a.shape), params
    )
    state = optimizer.init(params)
    for _ in range(3):  # the rate of the first is 0
        update, state = optimizer.update(gradient, state, params)
    values = jnp.linalg.svd(update["kernel"].reshape(-1, 32), compute_uv=False)
    # The Newton-Schulz iteration brings them near 1, not to it.
    assert values.max() / values.min() < 2
    plain = jnp.linalg.svd(gradient["kernel"].reshape(-1, 32), compute_uv=False)
    assert plain.max() / plain.min() > 5 and jnp.abs(update["bias"]).max() > 0
