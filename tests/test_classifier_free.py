"""Classifier-free guidance: its formula, its ends, and with the other wrappers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.cli.flags import FolderFlags, RestoreFlags
from pigdm_jax.networks import parameter_shapes

SHAPE = (4, 4, 1)


@pj.pytree_class
class Labelled(pj.Prior):
    """White images around a mean for each class, 0 for none."""

    means: Any
    label: Any = None
    schedule: pj.Schedule = pj.static_field(default=pj.Schedule.linear())
    null_label = 3

    def condition(self, *, label=None, image=None):
        assert image is None
        return self if label is None else Labelled(self.means, label)

    def __call__(self, x_t, t):
        a, b = pj.priors.schedule.alpha_bar_at(self.schedule, t)
        label = self.null_label if self.label is None else self.label
        return jnp.sqrt(b) * (x_t - jnp.sqrt(a) * self.means[label])


INNER = Labelled(jnp.array([-0.5, 0.25, 0.75, 0.0]))
X = np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def test_it_is_the_formula():
    for scale in (0, 1.0, 3.0):
        guided = pj.classifier_free(INNER.condition(label=2), scale)
        null, own = (INNER.condition(label=i)(X, 500) for i in (3, 2))
        expected = null + scale * (own - null)
        np.testing.assert_allclose(guided(X, 500), expected, atol=1e-6)


def test_beyond_the_interval_of_flow_times_the_scale_is_one():
    """JiT's rule, with t = 1 - tau: `where(t > 0.1, scale, 1)`."""
    prior = INNER.condition(label=2)
    limited = pj.classifier_free(prior, 3.0, interval=(0.0, 0.9))
    sigma = prior.schedule.sigma
    (beyond,) = np.nonzero(1 - sigma / (1 + sigma) < 0.1)
    for t, scale in ((beyond[0] - 1, 3.0), (beyond[0], 1.0), (5, 3.0), (999, 1.0)):
        expected = pj.classifier_free(prior, scale)(X, t)
        np.testing.assert_allclose(limited(X, t), expected, atol=1e-6)
    ends = jnp.array([0.2, 0.9])
    many = jax.vmap(lambda high: pj.classifier_free(prior, 3.0, interval=(0.0, high)))
    assert many(ends).interval[1].shape == (2,)


@pytest.mark.parametrize("interval", [0.5, (0.1,), (0.5, 0.5), (0.9, 0.1), (0, 1.5)])
def test_intervals_that_are_none_are_refused(interval: Any):
    with pytest.raises(ValueError, match="interval"):
        pj.classifier_free(INNER, 2.0, interval=interval)


def test_without_a_label_it_is_the_prior_without_one():
    np.testing.assert_allclose(
        pj.classifier_free(INNER, 5.0)(X, 500), INNER(X, 500), atol=1e-6
    )


def test_scale_and_label_may_differ_in_a_batch():
    def one(scale, label):
        return pj.classifier_free(INNER, scale).condition(label=label)(X, 400)

    scales, labels = jnp.array([0.5, 2.0, 4.0]), jnp.arange(3)
    many = jax.vmap(one)(scales, labels)
    for i in range(3):
        np.testing.assert_allclose(many[i], one(scales[i], labels[i]), atol=1e-6)


def test_images_of_a_batch_have_labels_of_their_own():
    prior = pj.classifier_free(INNER, 2.0)
    operator = pj.operators.super_resolution(SHAPE, 2)
    problems = [pj.measure(operator, jnp.zeros(SHAPE))] * 2
    keys = jax.random.split(jax.random.key(0))
    sampler = pj.samplers.DDIM(steps=3)
    labels = jnp.array([0, 2])
    images = pj.restore_batch(
        prior, problems, keys, sampler, conditions={"label": labels}
    )
    for i in range(2):
        alone = prior.condition(label=labels[i])
        image = pj.restore(alone, problems[i], keys[i], sampler)
        np.testing.assert_allclose(images[i], image, atol=2e-5)
    assert np.abs(images[0] - images[1]).max() > 0.1


def test_windows_and_labels_go_in_either_order():
    inside = pj.tiled(pj.classifier_free(INNER, 2.0), 4, 1)
    outside = pj.classifier_free(pj.tiled(INNER, 4, 1), 2.0)
    x = np.random.default_rng(1).standard_normal((7, 6, 1), np.float32)
    one, two = (prior.condition(label=1)(x, 300) for prior in (inside, outside))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_its_gradient_with_respect_to_the_scale_is_the_difference():
    def total(scale):
        return jnp.sum(pj.classifier_free(INNER.condition(label=2), scale)(X, 500))

    null, own = (INNER.condition(label=i)(X, 500) for i in (3, 2))
    np.testing.assert_allclose(jax.grad(total)(1.5), jnp.sum(own - null), rtol=1e-5)


def test_both_labels_are_one_evaluation_of_the_prior():
    """The inner prior is traced once, for a batch of two."""
    traces = []

    @pj.pytree_class
    class Counted(Labelled):
        def condition(self, *, label=None, image=None):
            return Counted(self.means, label)

        def __call__(self, x_t, t):
            traces.append(x_t.shape)
            return super().__call__(x_t, t)

    pj.classifier_free(Counted(INNER.means, 1), 2.0)(X, 5)
    assert traces == [SHAPE]


@pytest.mark.parametrize(
    ("prior", "scale", "error", "message"),
    [
        (pj.from_eps(lambda x, t: x), 2.0, ValueError, "a prior with a null label"),
        (INNER, -1.0, ValueError, "scale must be from 0"),
        (INNER, np.nan, ValueError, "scale must be from 0"),
        (INNER, np.inf, ValueError, "scale must be from 0"),
    ],
)
def test_others_are_refused_in_a_sentence(prior, scale, error, message):
    with pytest.raises(error, match=message):
        pj.classifier_free(prior, scale)


CONFIG = {"num_heads": 2, "mlp_size": 8, "bottleneck_dim": 4, "num_classes": 3}


@pytest.fixture
def photo(tmp_path):
    """A picture, beside the prior "prior", a network with labels and a null label."""
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "photo.png")
    config = pj.PixelTransformerConfig(8, 4, 8, 1, **CONFIG, in_context_len=0)
    network = pj.PixelTransformer(config)
    params = jax.tree.map(
        lambda leaf: np.full(leaf.shape, 0.1, "f4"), parameter_shapes(network)
    )
    how = {"predicts": "x0", "flow": True}
    pj.save_prior(tmp_path / "prior", network, params, "linear", {}, **how)
    return tmp_path / "photo.png"


def test_a_flag_of_the_command_guides_and_is_recorded(photo, tmp_path):
    flags = RestoreFlags("grayscale", prior=str(tmp_path / "prior"), label=1, cfg=2.5)
    request = flags.request()
    prior = request.prepare(photo).prior
    assert prior.scale == 2.5 and prior.label == 1 and prior.null_label == 3
    assert request.settings()["cfg"] == 2.5
    job = FolderFlags().job(tmp_path, tmp_path / "out", request)
    assert job.prior.scale == 2.5 and job.settings()["cfg"] == 2.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "give one by --label"),
        ({"cfg": -1.0}, "--cfg must be from 0"),
        ({"cfg": float("nan")}, "--cfg must be from 0"),
    ],
)
def test_flags_without_effect_or_out_of_range_are_refused(changes, message):
    flags = dataclasses.replace(RestoreFlags("grayscale", label=1, cfg=2.0), **changes)
    with pytest.raises(ValueError, match=message):
        flags.request()


def test_a_prior_without_a_null_label_is_refused_by_name(tmp_path):
    config = pj.UNetConfig(32, (1,), 1, (), num_classes=3)
    network = pj.UNet(config)
    params = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, "f4"), parameter_shapes(network)
    )
    pj.save_prior(tmp_path / "prior", network, params, "linear", {})
    flags = RestoreFlags("grayscale", prior=str(tmp_path / "prior"), label=1, cfg=2.0)
    with pytest.raises(ValueError, match="prior was trained with labels alone"):
        flags.request().load()
