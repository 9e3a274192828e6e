"""Training by flow matching, and of each architecture from scratch."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.networks import ARCHITECTURES, Network
from pigdm_jax.priors.conversions import PREDICTIONS, predicted_eps, training_target
from pigdm_jax.priors.schedule import Schedule
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.loop import train
from pigdm_jax.training.noise import LEAST_TAU, denoising_loss, labels, noisy
from pigdm_jax.training.step import init_state, make_step

SIDE = 8
FLOW = TrainConfig(flow=True, predicts="v")
# The smallest network of each architecture, trained on crops of SIDE pixels.
RUN = TrainConfig(
    batch=4,
    crop=(SIDE,),
    channels=32,
    blocks=1,
    warmup=0,
    held_out=0.3,
)
UNET = dataclasses.replace(RUN, channel_mult=(1,), attention=())
NEW = {
    "ddpm": dataclasses.replace(
        UNET, architecture="ddpm", flow=True, predicts="v", spacing="quadratic"
    ),
    "jit": dataclasses.replace(
        RUN,
        architecture="jit",
        patch=2,
        flow=True,
        predicts="x0",
        spacing="logit-normal",
    ),
}
# Orbax reports that it restores without a file about devices.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_a_prior_gets_the_noise_back_from_the_target(predicts, flow):
    x0, eps = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 3))
    schedule, t = Schedule.linear(), 700
    ratio = np.sqrt([schedule.alpha_bar[t], 1 - schedule.alpha_bar[t]])
    a, s = jnp.float32(ratio / ratio.sum() if flow else ratio).reshape(2, 1, 1, 1, 1)
    target = training_target(x0, eps, a, s, predicts=predicts, flow=flow)

    def model(x, at):
        np.testing.assert_allclose(x, (a * x0 + s * eps)[0], atol=1e-5)
        assert float(at) == pytest.approx(float(s.squeeze()) if flow else t, rel=1e-5)
        return target[0]

    x_t = (ratio[0] * x0 + ratio[1] * eps)[0].astype(jnp.float32)
    back = predicted_eps(model, x_t, t, schedule, predicts=predicts, flow=flow)
    np.testing.assert_allclose(back, eps[0], atol=1e-4)


def drawn(config, count, mean=0.0, deviation=1.0):
    """Gaussian images, with the noise that training adds to them."""
    image = jax.random.normal(jax.random.key(3), (count, 4, 4, 3))
    batch = {"image": mean + deviation * image, "index": jnp.arange(count)}
    return batch, noisy(batch, config, jax.random.key(0), jnp.int32(5), count)


MEAN, VARIANCE = 0.3, 0.2


class Gaussian(Network):
    """The best prediction for N(MEAN, VARIANCE), times a gain and with a shift."""

    predicts: str = "v"

    @nn.compact
    def __call__(self, x, t, label=None, image=None):
        tau = t[:, None, None, None]
        seen = (x - (1 - tau) * MEAN) / ((1 - tau) ** 2 * VARIANCE + tau**2)
        x0 = MEAN + (1 - tau) * VARIANCE * seen
        best = {"x0": x0, "v": tau * seen - x0}[self.predicts]
        one, zero = nn.initializers.ones, nn.initializers.zeros
        return self.param("gain", one, ()) * best + self.param("shift", zero, ())


@pytest.mark.parametrize("spacing", ["uniform", "logit-normal"])
@pytest.mark.parametrize("predicts", ["x0", "v"])
def test_the_loss_is_stationary_at_the_posterior_mean(predicts, spacing):
    config = dataclasses.replace(FLOW, predicts=predicts, spacing=spacing)
    batch, inputs = drawn(config, 8_000, MEAN, VARIANCE**0.5)
    net = Gaussian(predicts)

    @jax.grad
    def slope(params):
        return denoising_loss(params, net, batch, inputs).mean()

    best = slope({"gain": jnp.float32(1), "shift": jnp.float32(0)})
    other = slope({"gain": jnp.float32(0.9), "shift": jnp.float32(0.1)})
    for name in best:
        assert abs(best[name]) < 0.05 * abs(other[name])


def test_the_loss_is_the_error_of_the_velocity():
    config = dataclasses.replace(FLOW, predicts="x0")
    batch, inputs = drawn(config, 64)
    tau = inputs.t[:, None, None, None]
    net = Gaussian("x0")
    params = {"gain": jnp.float32(0.7), "shift": jnp.float32(0.2)}
    x0 = net.apply({"params": params}, inputs.x_t, inputs.t)
    eps = (inputs.x_t - (1 - tau) * batch["image"]) / tau
    error = (inputs.x_t - x0) / tau - (eps - batch["image"])
    loss = denoising_loss(params, net, batch, inputs)
    whole = np.asarray(inputs.t > LEAST_TAU)
    assert 50 < whole.sum() < 64
    np.testing.assert_allclose(
        loss[whole], jnp.mean(error**2, axis=(1, 2, 3))[whole], rtol=1e-3
    )
    assert float(inputs.weight.max()) == pytest.approx(1 / LEAST_TAU**2)


def test_flow_times_have_the_distribution_that_spacing_names():
    for spacing, expected in (("uniform", 0.5), ("quadratic", 1 / 3)):
        _, inputs = drawn(dataclasses.replace(FLOW, spacing=spacing), 512)
        assert float(inputs.t.mean()) == pytest.approx(expected, abs=2e-3)
    _, inputs = drawn(dataclasses.replace(FLOW, spacing="logit-normal"), 512)
    logits = jax.scipy.special.logit(inputs.t)
    assert float(logits.mean()) == pytest.approx(0.8, abs=0.02)
    assert float(logits.std()) == pytest.approx(0.8, abs=0.02)


def test_a_tenth_of_the_labels_is_dropped_where_there_is_one_for_no_class():
    batch = {"label": jnp.arange(4000) % 3, "index": jnp.arange(4000)}
    config = dataclasses.replace(NEW["jit"], classes=True)
    key, net = jax.random.key(0), config.network(3)
    kept = labels(batch, config, net, key)
    assert 0.08 < float((kept == net.null_label).mean()) < 0.12
    assert float((kept == batch["label"]).mean()) > 0.88
    np.testing.assert_array_equal(
        labels({name: a[1000:] for name, a in batch.items()}, config, net, key),
        kept[1000:],
    )
    unet = dataclasses.replace(NEW["ddpm"], classes=True).network(3)
    for whole in (labels(batch, config, net), labels(batch, config, unet, key)):
        np.testing.assert_array_equal(whole, batch["label"])
    assert labels(batch, NEW["jit"], net, key) is None


@pytest.mark.parametrize("name", NEW)
def test_a_new_network_learns_a_photo(name):
    config = dataclasses.replace(NEW[name], steps=30, lr=1e-2, warmup=5)
    net = config.network(None)
    state = start = jax.jit(lambda: init_state(config, net))()
    update = jax.jit(make_step(config, net, 4))
    image = np.broadcast_to(np.linspace(-1, 1, SIDE)[:, None, None], (4, SIDE, SIDE, 3))
    losses = []
    for i in range(config.steps):
        batch = {"image": image, "label": np.zeros(4, np.int32)}
        state = update(state, batch | {"index": np.arange(4 * i, 4 * i + 4)})
        losses.append(float(state.loss))
    # Before training every network predicts 0.
    first = {"image": jnp.asarray(image, jnp.float32), "index": jnp.arange(4)}
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    inputs = jax.jit(lambda: noisy(first, config, key, jnp.int32(0), 4))()
    square = inputs.weight * jnp.mean(inputs.target**2, axis=(1, 2, 3))
    assert losses[0] == pytest.approx(float(square.mean()), rel=1e-4)
    assert losses[-1] < 0.6 * losses[0]
    for constant in net.constants:
        np.testing.assert_array_equal(state.params[constant], start.params[constant])
    prior = pj.network_prior(
        net, state.ema, "linear", predicts=config.predicts, flow=True
    )
    # The noise of an image that it has learnt.
    a, s = np.sqrt([prior.schedule.alpha_bar[400], 1 - prior.schedule.alpha_bar[400]])
    eps = np.random.default_rng(0).normal(size=image[0].shape)
    found = jax.jit(prior)(jnp.float32(a * image[0] + s * eps), 400.0)
    assert float(jnp.mean((found - eps) ** 2)) < 0.3


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six pictures of two classes."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(6):
        path = folder / ("red" if i % 2 else "blue") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def test_a_jit_with_classes_makes_a_prior_that_is_guided_by_them(photos, tmp_path):
    config = dataclasses.replace(NEW["jit"], classes=True, steps=2, sample_every=2)
    folder = train(photos, tmp_path / "run", config)
    assert json.loads((folder / "prior.json").read_text())["flow"] is True
    prior = pj.load_prior(folder)
    assert (prior.network.num_classes, prior.predicts) == (2, "x0")
    assert (tmp_path / "run/samples/0000002.png").exists()
    guided = pj.classifier_free(prior.condition(label=0), 3.0)
    assert np.isfinite(jax.jit(guided)(jnp.ones((SIDE, SIDE, 3)), 500)).all()


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("jit", {"flow": False}, "trained by flow matching; add --flow"),
        ("jit", {"crop": (8, 16), "crop_shares": (0.5, 0.5)}, "images of one size"),
        ("jit", {"patch": 3}, "crops must be multiples of 3"),
        ("jit", {"condition": "denoise"}, "--condition needs --architecture adm"),
        ("ddpm", {"condition": "denoise"}, "--condition needs --architecture adm"),
        ("jit", {"channel_mult": (1,)}, "--channel-mult has no effect with --arch"),
        ("ddpm", {"resampling": "plain"}, "--resampling has no effect with --arch"),
        ("ddpm", {"patch": 4}, "--patch has no effect with --architecture ddpm"),
        ("ddpm", {"architecture": "gan"}, "must be one of adm, ddpm, jit; got 'gan'"),
        ("ddpm", {"predicts": "eps"}, "--flow needs --predicts v or --predicts x0"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(tmp_path, name, changes, message):
    config = dataclasses.replace(NEW[name], **changes)
    with pytest.raises(ValueError, match=message) as caught:
        train(tmp_path / "no photos", tmp_path / "run", config)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_sizes_are_the_architecture_s_where_none_are_given():
    assert {*NEW, "adm"} == set(ARCHITECTURES)
    for name in ARCHITECTURES:
        config = TrainConfig(architecture=name, flow=True, predicts="x0")
        whole = config.with_sizes()
        assert whole == whole.with_sizes() and whole.network(None) == config.network(
            None
        )
    network = TrainConfig(architecture="jit", flow=True, predicts="x0").network(5)
    assert (network.image_size, network.multiple, network.null_label) == (64, 4, 5)
    assert network.config.in_context_len and not whole.network(None).num_classes


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    saved = json.loads(TrainConfig().with_sizes().to_json())
    for name in ("architecture", "flow", "patch"):
        del saved[name]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    TrainConfig().with_sizes().check_same(tmp_path / "config.json")
    with pytest.raises(ValueError, match="started with architecture adm, not ddpm"):
        TrainConfig(architecture="ddpm").with_sizes().check_same(
            tmp_path / "config.json"
        )
