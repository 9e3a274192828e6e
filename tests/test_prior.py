"""Priors against closed forms and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from pigdm_jax import (
    Prior,
    Schedule,
    UNet,
    UNetConfig,
    from_denoiser,
    from_eps,
    from_velocity,
    gaussian_prior,
    mixture_prior,
    network_prior,
)

SCHEDULE = Schedule.linear()
SHAPE = (2, 2, 1)


def covariance(seed, n=4):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T / n + 0.1 * np.eye(n)


def mixture(k=3):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 1, k)
    means = rng.normal(size=(k, *SHAPE))
    covariances = np.stack([covariance(i) for i in range(k)])
    return weights, means, covariances


def x_t(seed=5):
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("t", [0, 300, 999])
def test_mixture_eps_is_the_scaled_score(t):
    weights, means, covariances = mixture()
    prior = mixture_prior(weights, means, covariances)
    a = SCHEDULE.alpha_bar[t]

    def log_density(x):
        parts = [
            np.log(w / weights.sum())
            + scipy.stats.multivariate_normal(
                np.sqrt(a) * m.ravel(), a * c + (1 - a) * np.eye(4)
            ).logpdf(x)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ]
        return np.logaddexp.reduce(parts)

    x = x_t().astype(float).ravel()
    step = 1e-5
    score = [
        (log_density(x + step * e) - log_density(x - step * e)) / (2 * step)
        for e in np.eye(4)
    ]
    expected = -np.sqrt(1 - a) * np.array(score)
    np.testing.assert_allclose(prior(x_t(), t).ravel(), expected, rtol=2e-4, atol=1e-5)


def test_gaussian_is_a_mixture_of_one():
    mean, cov = np.ones(SHAPE), covariance(1)
    both = mixture_prior([2.0, 2.0], [mean, mean], [cov, cov])
    one = gaussian_prior(mean, cov)
    np.testing.assert_allclose(one(x_t(), 400), both(x_t(), 400), atol=1e-5)


def test_a_point_mass_is_predicted_exactly():
    prior = gaussian_prior(np.full(SHAPE, 0.3), np.zeros((4, 4)))
    a = SCHEDULE.alpha_bar[700]
    noise = x_t()
    noisy = np.sqrt(a) * 0.3 + np.sqrt(1 - a) * noise
    np.testing.assert_allclose(prior(noisy, 700), noise, atol=1e-5)


@pytest.mark.parametrize("t", [5, 500, 990])
def test_other_predictions_are_converted_to_eps(t):
    eps_prior = gaussian_prior(np.zeros(SHAPE), covariance(2))

    def split(x, t):
        a = jnp.interp(t, jnp.arange(1000), SCHEDULE.alpha_bar)
        eps = eps_prior(x, t)
        return a, eps, (x - jnp.sqrt(1 - a) * eps) / jnp.sqrt(a)

    def velocity(x, t):
        a, eps, x0 = split(x, t)
        return jnp.sqrt(a) * eps - jnp.sqrt(1 - a) * x0

    def flow(x, tau):
        """z - x0 at (1 - tau) x0 + tau z."""
        sigma = np.sqrt(1 - SCHEDULE.alpha_bar[t])
        scale = np.sqrt(SCHEDULE.alpha_bar[t]) + sigma
        np.testing.assert_allclose(tau, sigma / scale, rtol=1e-5)
        _, eps, x0 = split(x * scale, t)
        return eps - x0

    def of_flow(part):
        """eps or x0 at (1 - tau) x0 + tau z."""
        scale = np.sqrt(SCHEDULE.alpha_bar[t]) + np.sqrt(1 - SCHEDULE.alpha_bar[t])
        return lambda x, tau: split(x * scale, t)[part]

    expected = eps_prior(x_t(), t)
    for prior in (
        from_eps(eps_prior),
        from_eps(lambda x, t: eps_prior(x, t)),
        from_denoiser(lambda x, t: split(x, t)[2]),
        from_velocity(velocity),
        from_velocity(flow, flow=True),
        from_eps(of_flow(1), flow=True),
        from_denoiser(of_flow(2), flow=True),
    ):
        assert isinstance(prior, Prior)
        np.testing.assert_allclose(prior(x_t(), t), expected, rtol=2e-3, atol=2e-3)


CONFIG = UNetConfig(
    model_channels=32,
    channel_mult=(1, 1),
    num_res_blocks=1,
    attention_resolutions=(),
    out_channels=6,
    num_classes=5,
)


@pytest.fixture(scope="module")
def params():
    x, t, label = jnp.zeros((1, 8, 8, 3)), jnp.zeros(1), jnp.zeros(1, int)
    params = jax.jit(UNet(CONFIG).init)(jax.random.key(0), x, t, label)["params"]
    # As initialised, the last layer hides little; the label's embedding is random.
    return params


def test_network_prior_gives_eps_alone_for_one_image(params):
    prior = network_prior(UNet(CONFIG), params, "linear", label=2)
    x = jax.random.normal(jax.random.key(1), (8, 16, 3))
    out = UNet(CONFIG).apply(
        {"params": params}, x[None], jnp.array([20.0]), jnp.array([2])
    )
    eps = prior(x, 20)
    assert eps.shape == x.shape and prior.multiple == 2
    np.testing.assert_allclose(eps, out[0, ..., :3], atol=1e-5)


def test_networks_that_predict_x0_or_v_give_the_eps_that_corresponds(params):
    x, t = jax.random.normal(jax.random.key(1), (8, 8, 3)), 300
    output = network_prior(UNet(CONFIG), params, "linear", 2)(x, t)
    # x_t and the prediction decide x0 and eps: x_t = a x0 + s eps, v = a eps - s x0.
    a = np.sqrt(Schedule.linear().alpha_bar[t])
    s = np.sqrt(1 - a**2)
    v = network_prior(UNet(CONFIG), params, "linear", 2, predicts="v")(x, t)
    x0 = (x - s * v) / a
    np.testing.assert_allclose(a * v - s * x0, output, rtol=1e-3, atol=1e-4)
    eps = network_prior(UNet(CONFIG), params, "linear", 2, predicts="x0")(x, t)
    np.testing.assert_allclose((x - s * eps) / a, output, rtol=1e-3, atol=1e-4)


def test_a_batch_may_hold_different_labels(params):
    x = jax.random.normal(jax.random.key(1), (8, 8, 3))
    labels = jnp.array([0, 3, 4])

    def predict(label):
        return network_prior(UNet(CONFIG), params, "linear", label)(x, 7)

    batch = jax.jit(jax.vmap(predict))(labels)
    for label, eps in zip(labels, batch, strict=True):
        np.testing.assert_allclose(eps, predict(label), atol=2e-5)
    assert jnp.abs(batch[0] - batch[1]).max() > 1e-3


def test_a_condition_is_a_prior_with_another_label(params):
    prior = network_prior(UNet(CONFIG), params, "linear", label=1)
    other = network_prior(UNet(CONFIG), params, "linear", label=3)
    assert_same(prior.condition(label=3), other)
    assert_same(prior.condition(), prior)
    batch = jax.vmap(lambda label: prior.condition(label=label).label)(jnp.arange(3))
    np.testing.assert_array_equal(batch, np.arange(3))


def test_a_low_resolution_image_is_a_condition():
    config = UNetConfig(32, (1,), 1, (), in_channels=6)
    one, two = (jax.random.normal(jax.random.key(k), (4, 4, 3)) for k in (1, 2))
    prior = network_prior(UNet(config), {}, "linear", sees="upsample")
    assert prior.seen is None
    np.testing.assert_array_equal(prior.condition(image=one).seen, one)
    again = prior.condition(image=one).condition(image=two)
    assert_same(again, prior.condition(image=two))


def assert_same(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_a_rematerialised_prior_recomputes_its_blocks(params):
    prior = network_prior(UNet(CONFIG), params, "linear", label=1)
    again = prior.rematerialised()
    assert (
        again.network.remat
        and not prior.network.remat
        and again.rematerialised() is again
    )
    assert_same(
        again, network_prior(UNet(CONFIG, remat=True), params, "linear", label=1)
    )
    plain = from_denoiser(lambda x, t: x)
    assert plain.rematerialised() is plain


def test_priors_are_pytrees_of_arrays(params):
    prior = network_prior(UNet(CONFIG), params, "linear", label=1)
    doubled = jax.tree.map(lambda a: a, prior)
    assert doubled.schedule == prior.schedule
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(prior))


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: network_prior(UNet(CONFIG), {}, "linear"),
            "needs a class label, 0 to 4",
        ),
        (lambda: network_prior(UNet(CONFIG), {}, "linear", 5), "from 0 to 4, got 5"),
        (
            lambda: network_prior(
                UNet(UNetConfig(32, (1,), 1, (), in_channels=6)), {}, "linear"
            ),
            "sees one of pinv, upsample",
        ),
        (
            lambda: network_prior(UNet(UNetConfig(32, (1,), 1, ())), {}, "linear", 1),
            "no label",
        ),
        (
            lambda: network_prior(UNet(CONFIG), {}, "linear", 1)(
                jnp.zeros((8, 9, 3)), 0
            ),
            "multiples of 2",
        ),
        (
            lambda: network_prior(UNet(CONFIG), {}, "linear", 1, predicts="noise"),
            "predicts eps or x0 or v, got 'noise'",
        ),
        (
            lambda: network_prior(UNet(CONFIG), {}, "linear", 1).condition(label=5),
            "from 0 to 4, got 5",
        ),
        (
            lambda: network_prior(UNet(CONFIG), {}, "linear", 1).condition(
                image=np.zeros(3)
            ),
            "takes no image besides",
        ),
        (
            lambda: from_denoiser(lambda x, t: x).condition(label=1),
            "takes no class label",
        ),
        (lambda: mixture_prior([1.0], np.zeros((1, 2, 2)), np.eye(4)[None]), "means"),
        (lambda: gaussian_prior(np.zeros(SHAPE), np.eye(3)), "covariance"),
        (lambda: gaussian_prior(np.zeros(SHAPE), -np.eye(4)), "negative"),
        (
            lambda: mixture_prior([0.0], np.zeros((1, *SHAPE)), np.eye(4)[None]),
            "positive",
        ),
    ],
)
def test_a_bad_request_is_answered(make, message):
    with pytest.raises(ValueError, match=message):
        make()
