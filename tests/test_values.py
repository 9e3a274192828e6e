"""Priors, problems, samplers and guidances as values: traced, mapped, brought along."""

import dataclasses
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spaced import SPACED

import pigdm_jax as pj
from pigdm_jax import guidance, samplers
from pigdm_jax import operators as ops
from pigdm_jax.guidance import GUIDANCES
from pigdm_jax.guidance.base import denoise
from pigdm_jax.problem import difference, measurement_residual
from pigdm_jax.restoration import check_request

SHAPE = (8, 8, 3)
KEY = jax.random.key(3)


def inpainting(seed=0, noise_std=None):
    operator = ops.inpaint(SHAPE, ops.random_mask(SHAPE, 0.5, seed))
    image = jax.random.uniform(jax.random.key(seed), SHAPE, minval=-1)
    return pj.Problem(operator, operator.apply(image), noise_std)


ALL = [
    *(cls() for cls in SPACED.values()),
    samplers.DDIM(guidance=guidance.Moment(products=3)),
    samplers.Fitted(guidance=guidance.Reconstruction()),
]


def few_steps(sampler):
    return dataclasses.replace(sampler, steps=3)


def test_importing_starts_no_backend():
    code = (
        "import pigdm_jax, pigdm_jax.cli.main\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The same numbers as Python, NumPy and JAX hold them.
KINDS = [float, np.float32, np.float64, jnp.float32]


@pytest.mark.parametrize("sampler", ALL, ids=str)
def test_one_trace_serves_all_numbers_and_masks(sampler):
    traces = []

    def denoiser(x, t):
        traces.append(1)
        return 0.5 * x

    prior = pj.from_denoiser(denoiser)
    leaves, tree = jax.tree.flatten(few_steps(sampler))
    counts = set()
    for i, kind in enumerate(KINDS):
        problem = inpainting(i, kind(0.1 + 0.01 * i))
        own = jax.tree.unflatten(tree, [kind(leaf * (1 - 0.1 * i)) for leaf in leaves])
        pj.restore(prior, problem, KEY, own)
        counts.add(len(traces))
    assert len(counts) == 1


def assert_near(one, other):
    """Equal but for the order of sums, which the noisiest steps enlarge."""
    np.testing.assert_allclose(one, other, atol=2e-3 * float(jnp.abs(other).max()))


@pytest.mark.parametrize(
    "sampler",
    [
        samplers.DDIM(),
        samplers.Fitted(guidance=guidance.Calibrated()),
        samplers.Conjugate(),
        samplers.DiffPIR(),
        samplers.REDDiff(),
    ],
    ids=str,
)
def test_vmap_over_every_leaf_of_a_sampler_is_a_loop(smooth_prior, sampler):
    problem = inpainting(noise_std=0.1)
    leaves, tree = jax.tree.flatten(few_steps(sampler))
    rows = jnp.linspace(0.4, 0.9, 2 * len(leaves)).reshape(2, -1)

    def run(row):
        own = jax.tree.unflatten(tree, list(row))
        return pj.restore(smooth_prior, problem, KEY, own)

    mapped = jax.vmap(run)(rows)
    for image, row in zip(mapped, rows, strict=True):
        assert_near(image, run(row))
    assert np.abs(mapped[0] - mapped[1]).max() > 1e-4


def test_vmap_over_problems_and_priors_is_a_loop(smooth_prior):
    sampler = samplers.Fitted(3)
    problems = [inpainting(i, jnp.float32(0.05 + 0.2 * i)) for i in range(2)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    mapped = jax.vmap(lambda p: pj.restore(smooth_prior, p, KEY, sampler))(both)
    for image, problem in zip(mapped, problems, strict=True):
        alone = pj.restore(smooth_prior, problem, KEY, sampler)
        assert_near(image, alone)

    def scaled(factor):
        return jax.tree.map(lambda leaf: factor * leaf, smooth_prior)

    factors = jnp.array([1.0, 0.8])
    images = jax.vmap(lambda f: pj.restore(scaled(f), problems[0], KEY, sampler))(
        factors
    )
    for image, factor in zip(images, factors, strict=True):
        assert_near(image, pj.restore(scaled(factor), problems[0], KEY, sampler))


@pytest.mark.parametrize("sampler", ALL, ids=str)
def test_the_text_of_a_sampler_parses_back(sampler):
    def check(value):
        again = samplers.parse(str(value))
        assert type(again) is type(value) and str(again) == str(value)
        assert jax.tree.structure(again) == jax.tree.structure(value)
        np.testing.assert_array_equal(jax.tree.leaves(again), jax.tree.leaves(value))

    check(sampler)
    leaves, tree = jax.tree.flatten(sampler)
    check(jax.tree.unflatten(tree, [0.37 + 0.01 * i for i, _ in enumerate(leaves)]))
    check(dataclasses.replace(sampler, steps=7, start=0.3, spacing="quadratic"))


def test_steps_and_guidance_are_set_beside_the_text():
    sampler = samplers.parse("ddim:eta=0.5", steps=20, guidance="moment:products=5")
    assert str(sampler) == "ddim:steps=20,eta=0.5,guidance=(moment:products=5)"
    assert str(samplers.parse("fitted:guidance=none")) == "fitted:steps=10"
    rounded = samplers.DDIM(eta=np.float32(0.1))
    assert str(rounded) == "ddim:steps=100,eta=0.1"


@pytest.mark.parametrize(
    "text, message",
    [
        ("best", "no sampler 'best'; there are ddim, fitted"),
        (
            "ddim:eta",
            "sampler ddim has parameters steps, start, spacing, eta, guidance",
        ),
        ("ddim:stepz=7", "as KEY=VALUE; got 'stepz=7'"),
        ("ddim:steps=7.5", "steps must be a whole number, got '7.5'"),
        ("ddim:steps=0", "steps must be a whole number from 1 on, got 0"),
        ("ddim:eta=much", "eta must be a number, got 'much'"),
        ("ddim:eta=1.5", "eta must be from 0 to 1, got 1.5"),
        ("ddim:eta=nan", "eta must be from 0 to 1, got nan"),
        ("ddim:eta=0.1,eta=0.2", "eta is given twice"),
        ("ddim:spacing=log", "spacing must be one of uniform, quadratic; got 'log'"),
        ("ddim:start=0", "start is a fraction of the schedule's noise levels"),
        ("ddim:guidance=(moment", "a parenthesis is missing"),
        ("ddim:guidance=(best)", "no guidance 'best'; there are pseudoinverse"),
        ("ddim:guidance=(moment:products=0)", "products must be a whole number"),
        ("ddim:guidance=(pseudoinverse:weight=big)", "weight must be one of adaptive"),
        ("dps:scale=-1", "scale must be at least 0, got -1"),
        ("conjugate:weight=vdm", "weight must be one of adaptive, posterior"),
        ("conjugate:lam=2", "lam must be from 0 to 1"),
    ],
)
def test_a_wrong_text_is_answered_in_one_sentence(text, message):
    with pytest.raises(ValueError) as caught:
        samplers.parse(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"prior": lambda x, t: x}, TypeError, "prior must be a pigdm_jax.Prior"),
        ({"problem": np.zeros(SHAPE)}, TypeError, "problem must be a pigdm_jax.Prob"),
        ({"sampler": "ddim"}, TypeError, "sampler must be a pigdm_jax.Sampler"),
        ({"problem": inpainting(noise_std=-0.1)}, ValueError, "from 0 on, got -0.1"),
        ({"problem": inpainting(noise_std=np.nan)}, ValueError, "from 0 on, got nan"),
        ({"problem": inpainting(noise_std=np.ones(3))}, ValueError, "one number"),
        ({"sampler": samplers.DDIM(steps=2000)}, ValueError, "steps must be from 1"),
    ],
)
def test_a_wrong_request_is_answered_before_anything_runs(
    smooth_prior, change, error, message
):
    request = {"prior": smooth_prior, "problem": inpainting(), "sampler": None} | change
    with pytest.raises(error) as caught:
        check_request(**request)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_init_that_is_none_is_answered(smooth_prior):
    with pytest.raises(ValueError, match="init must be 'pinv', 'upsample' or an image"):
        pj.restore(smooth_prior, inpainting(), KEY, init="nothing")


def test_an_exception_in_on_step_ends_the_run(smooth_prior):
    seen = []

    def on_step(i, info):
        seen.append((i, info.x0.shape, float(info.residual)))
        if i == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pj.restore(smooth_prior, inpainting(), KEY, samplers.DDIM(5), on_step=on_step)
    assert [i for i, _, _ in seen] == [1, 2] and seen[0][1] == SHAPE


def test_a_measurement_is_simulated():
    operator = ops.super_resolution(SHAPE, 2)
    x = jax.random.uniform(KEY, SHAPE, minval=-1)
    exact = pj.measure(operator, x)
    assert exact.noise_std is None
    np.testing.assert_array_equal(exact.y, operator.apply(x))
    noisy = pj.measure(operator, x, KEY, noise_std=0.5)
    assert abs(float(jnp.std(noisy.y - exact.y)) - 0.5) < 0.15
    with pytest.raises(ValueError, match="needs a key"):
        pj.measure(operator, x, noise_std=0.5)
    with pytest.raises(ValueError, match="the operator's images are"):
        pj.measure(operator, x[:4])
    with pytest.raises(ValueError, match="needs a linear operator"):
        pj.measure(ops.quantize(SHAPE, 3), x, KEY, noise_std=0.5)


# What a user writes, outside of the package.


@pj.pytree_class
class Grey(pj.Prior):
    """Knows that images are nearly grey."""

    brightness: Any
    schedule: pj.Schedule = pj.static_field(default=pj.Schedule.linear())

    def __call__(self, x_t, t):
        alpha_bar = jnp.asarray(self.schedule.alpha_bar, jnp.float32)[
            jnp.asarray(t, jnp.int32)
        ]
        x0 = 0.1 * x_t + self.brightness
        return (x_t - jnp.sqrt(alpha_bar) * x0) / jnp.sqrt(1 - alpha_bar)


@pj.pytree_class
class Darken(pj.Operator):
    """Half the brightness."""

    factor: Any
    image_shape: tuple = pj.static_field()

    linear = True

    def apply(self, x):
        return self.factor * x

    def pinv(self, y, damping=0.0):
        return self.factor * y / (self.factor**2 + damping)


@pj.pytree_class
class Transposed(pj.Guidance):
    """A gradient step of the misfit of x0, without the network's derivative."""

    rate: Any = 0.5

    def __call__(self, prior, problem, x_t, step):
        x0, eps, _ = denoise(prior, x_t, step)
        pull = jax.linear_transpose(problem.operator.apply, x0)
        moved = x0 + self.rate * pull(difference(problem, x0))[0]
        return pj.Guided(x0, eps, moved, eps, measurement_residual(problem, x0))


@pj.pytree_class
class Averaging(pj.Stepwise):
    """Predicts, fits, and remembers the mean of all predictions."""

    memory: Any = 0.5
    count: int = pj.static_field(default=4)

    project = False

    @property
    def evaluations(self):
        return self.count

    def levels(self, schedule):
        return schedule.levels(self.count)

    def begin(self, prior, problem, x, step, key):
        return x, problem.operator.pinv(problem.y)

    def step(self, prior, problem, state, step, key):
        x_t, mean = state
        x0, eps, _ = denoise(prior, x_t, step)
        mean = self.memory * mean + (1 - self.memory) * x0
        x_s = jnp.sqrt(step.a_s) * mean + jnp.sqrt(step.b_s) * eps
        info = pj.Info(x0, measurement_residual(problem, x0), mean - x0)
        return (x_s, mean), info

    def image(self, state):
        return state[1]

    def estimate(self, state):
        return {"brightness": state[1].mean()}


@pj.pytree_class
class Best(pj.Sampler):
    """Several runs of a sampler: a wrapper is of the type that it wraps."""

    inner: Any
    runs: int = pj.static_field(default=2)

    @property
    def needs(self):
        return self.inner.needs

    @property
    def evaluations(self):
        return self.runs * self.inner.evaluations

    def sample(self, prior, problem, key, init=None, on_step=None):
        images = []
        for k in range(self.runs):
            own = jax.random.fold_in(key, k)
            image, trace = self.inner.sample(prior, problem, own, init, on_step)
            images.append(image)
        return sum(images) / self.runs, trace


OWN = [Best(Averaging()), samplers.Fitted(steps=3, guidance=Transposed())]


@pytest.mark.parametrize("sampler", OWN, ids=lambda s: type(s).__name__)
def test_what_a_user_brings_runs_everywhere(sampler):
    prior, operator = Grey(0.2), Darken(0.5, SHAPE)
    ys = jax.random.uniform(KEY, (2, *SHAPE), minval=-0.5, maxval=0.5)
    keys = jax.random.split(KEY, 2)
    problems = [pj.Problem(operator, y) for y in ys]
    alone = [
        pj.restore(prior, p, k, sampler) for p, k in zip(problems, keys, strict=True)
    ]
    assert all(jnp.isfinite(image).all() for image in alone)
    mapped = jax.vmap(
        lambda y, key: pj.restore(prior, pj.Problem(operator, y), key, sampler)
    )(ys, keys)
    np.testing.assert_allclose(mapped, alone, atol=1e-4)
    batch = pj.restore_batch(prior, problems, keys, sampler)
    np.testing.assert_allclose(batch, alone, atol=1e-4)
    count = []
    pj.restore(
        prior, problems[0], KEY, sampler, on_step=lambda i, info: count.append(i)
    )
    assert len(count) == sampler.evaluations


def test_what_a_blind_sampler_finds_is_in_the_trace():
    problem = pj.measure(Darken(0.5, SHAPE), jnp.full(SHAPE, 0.3))
    image, trace = pj.restore(Grey(0.2), problem, KEY, Averaging(), trace=True)
    np.testing.assert_allclose(trace.estimate["brightness"], image.mean(), atol=1e-6)


def test_plain_dataclasses_of_jax_will_do():
    """Registered by JAX itself, without the package's helper."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Plain(pj.Stepwise):
        rate: float = 1.0
        steps: int = dataclasses.field(default=3, metadata={"static": True})

        project = False

        @property
        def evaluations(self):
            return self.steps

        def levels(self, schedule):
            return schedule.levels(self.steps)

        def begin(self, prior, problem, x, step, key):
            return x

        def step(self, prior, problem, state, step, key):
            x0, eps, _ = denoise(prior, state, step)
            info = pj.Info(x0, measurement_residual(problem, x0), 0 * x0)
            return self.rate * jnp.sqrt(step.a_s) * x0 + jnp.sqrt(step.b_s) * eps, info

        def image(self, state):
            return state

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Zero(Plain):
        def image(self, state):
            return 0 * state

        def step(self, prior, problem, state, step, key):
            state, info = super().step(prior, problem, state, step, key)
            return 0 * state, info

    problem = pj.measure(Darken(0.5, SHAPE), jnp.full(SHAPE, 0.3))
    image = pj.restore(Grey(0.2), problem, KEY, Plain())
    assert image.shape == SHAPE and str(Plain(rate=0.5)) == "plain:rate=0.5,steps=3"
    # JAX takes the tree structures of the two for equal.
    assert jax.tree.structure(Plain()) == jax.tree.structure(Zero())
    zero, trace = pj.restore(Grey(0.2), problem, KEY, Zero(), trace=True)
    assert not zero.any() and trace.x0_norm[-1] < 0.21


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidances_have_a_text_too(name):
    value = GUIDANCES[name](scale=0.25)
    assert str(value) == f"{name}:scale=0.25"
    assert str(guidance.parse(str(value))) == str(value)


@pj.pytree_class
class Coloured(pj.Prior):
    """Knows that images of class k are all of one brightness."""

    label: Any
    schedule: pj.Schedule = pj.static_field(default=pj.Schedule.linear())

    def __call__(self, x_t, t):
        return Grey(0.3 * self.label - 0.3)(x_t, t)

    def condition(self, *, label=None, image=None):
        rest = super().condition(image=image)
        return rest if label is None else dataclasses.replace(rest, label=label)


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: pj.tiled(p, 4, 2)])
def test_each_image_may_have_a_condition_of_its_own(wrap):
    problem = pj.measure(ops.super_resolution(SHAPE, 8), jnp.zeros(SHAPE))
    problems = dataclasses.replace(problem, y=jnp.stack([problem.y] * 3))
    keys, labels = jax.random.split(KEY, 3), jnp.array([0, 2, 1])
    sampler = samplers.DDIM(steps=3)
    images = pj.restore_batch(
        wrap(Coloured(0)),
        problems,
        keys,
        sampler,
        shared_operator=True,
        conditions={"label": labels},
    )
    for image, key, label in zip(images, keys, labels, strict=True):
        prior = wrap(Coloured(0)).condition(label=label)
        assert_near(image, pj.restore(prior, problem, key, sampler))
    assert jnp.abs(images[0] - images[1]).max() > 0.1
    with pytest.raises(ValueError, match="takes no class label"):
        wrap(Grey(0.2)).condition(label=1)
    with pytest.raises(ValueError, match="takes no image besides"):
        wrap(Coloured(0)).condition(image=jnp.zeros(SHAPE))
