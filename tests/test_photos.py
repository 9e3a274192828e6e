"""Pictures as measurements, and restorations that agree with them."""

import jax
import jax.numpy as jnp
import jpeglib
import numpy as np
import pytest
from PIL import Image

from pigdm_jax import (
    Prior,
    Problem,
    Schedule,
    exact_posterior,
    from_denoiser,
    gaussian_prior,
    guidance,
    measure,
    pytree_class,
    restore,
    samplers,
    static_field,
)
from pigdm_jax.operators import inpaint, random_mask, super_resolution
from pigdm_jax.pictures import problems
from pigdm_jax.pictures.figures import deviation_map, plot_traces
from pigdm_jax.pictures.levels import ROUNDING_STD, to_levels
from pigdm_jax.pictures.problems import degradation_of_file, degradation_to_simulate
from pigdm_jax.pictures.reading import read_image
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.results import mismatch_text, restore_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.priors.tiling import fit_prior

# Predicts a nearly grey image whatever it sees.
GREY = from_denoiser(lambda x, t: 0.1 * x)


def picture(height=16, width=24, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (height, width, 3)) / 127.5 - 1).astype(np.float32)


def measured(x, task, noise=None, *, file=None):
    parsed = Task.parse(task).with_noise(noise)
    return problems.measured(
        x, degradation_of_file(x.shape[:2], parsed, file=file), file
    )


def simulated(x, task, noise, key):
    parsed = Task.parse(task).with_noise(noise)
    return problems.simulated(x, degradation_to_simulate(x.shape[:2], parsed), key)


def test_a_small_picture_is_the_measurement_of_a_large_one():
    problem, _, remarks, _ = measured(picture(), "super_resolution:4,bicubic")
    assert problem.operator.image_shape == (64, 96, 3)
    assert problem.noise_std is None and not remarks
    np.testing.assert_array_equal(problem.y, picture())


def test_a_colourless_measurement_is_the_mean_of_channels():
    problem = measured(picture(), "grayscale").problem
    np.testing.assert_allclose(problem.y[..., 0], picture().mean(-1), atol=1e-6)


def test_hidden_pixels_of_a_file_do_not_matter():
    x = picture()
    problem = measured(x, "inpaint:center,8").problem
    x[4:12, 8:16] = 0.77
    again = measured(x, "inpaint:center,8").problem
    np.testing.assert_array_equal(again.y, problem.y)


@pytest.mark.parametrize("mode", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(16, 16), (19, 37)])
def test_jpeg_files_give_their_own_coefficients(mode, size, tmp_path):
    path = tmp_path / "a.jpg"
    smooth = np.add.outer(*(np.linspace(40, 120, n) for n in size))
    pixels = smooth[..., None] + np.random.default_rng(0).normal(0, 12, (*size, 3))
    whole = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if mode == "grey":
        whole.convert("L").save(path, quality=60)
    else:
        whole.save(path, quality=60, subsampling=mode)
    problem = measured(read_image(path), "jpeg", file=path).problem
    theirs = jpeglib.read_dct(str(path))
    rows, columns = size[0] // 8, size[1] // 8
    np.testing.assert_array_equal(
        problem.y.y[:rows, :columns], theirs.Y[:rows, :columns]
    )
    if mode == "grey":
        assert not problem.y.cb.any()
    else:
        down = {"4:4:4": 8, "4:2:2": 8, "4:2:0": 16}[mode]
        across = 8 if mode == "4:4:4" else 16
        rows, columns = size[0] // down, size[1] // across
        np.testing.assert_array_equal(
            problem.y.cr[:rows, :columns], theirs.Cr[:rows, :columns]
        )
    decoded = problem.operator.pinv(problem.y)
    # libjpeg's decoder rounds, clips and smooths chroma; luma is nearly the same.
    luma = (np.asarray(decoded) - read_image(path)).mean(-1)
    assert np.abs(luma[: size[0] // 8 * 8, : size[1] // 8 * 8]).mean() < 0.03


def test_without_jpeglib_the_pixels_give_nearly_the_same(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    ramp = np.add.outer(np.arange(32) * 3, np.arange(32) * 2)
    Image.fromarray(ramp.astype(np.uint8)).convert("RGB").save(path, quality=40)
    own = measured(read_image(path), "jpeg", file=path)
    monkeypatch.setattr(problems, "read_jpeg_coefficients", lambda path: None)
    again = measured(read_image(path), "jpeg", file=path)
    assert "pigdm-jax[jpeg]" in again.remarks[0]
    assert (again.problem.y.y == own.problem.y.y).mean() > 0.99


def test_rounding_counts_as_noise_if_the_pseudoinverse_amplifies_it():
    problem, _, remarks, _ = measured(picture(), "uniform_blur:5")
    assert problem.noise_std == ROUNDING_STD
    assert "rounding" in remarks[0]
    assert measured(picture(), "uniform_blur:5", 0.05).problem.noise_std == 0.1
    in_task = measured(picture(), "uniform_blur:5 | denoise:0.05")
    assert in_task.problem.noise_std == 0.1
    assert measured(picture(), "uniform_blur:5", 0.0).problem.noise_std is None


def noisy_file(sigma=0.1, shape=(48, 64, 3), level=0.0):
    noise = np.random.default_rng(0).standard_normal(shape)
    return read_back(level + 2 * sigma * noise)


def read_back(x):
    return to_levels(x).astype(np.float32) / np.float32(127.5) - 1


@pytest.mark.parametrize(
    "task", ["denoise", "super_resolution:2", "gaussian_blur:2", "inpaint:center,16"]
)
def test_noise_is_estimated_in_the_picture_file(task):
    problem, _, remarks, _ = measured(noisy_file(), task, "auto")
    assert abs(problem.noise_std / 0.2 - 1) < 0.06
    assert f"noise estimated as {problem.noise_std / 2:.3f}" in remarks[-1]


def test_hidden_pixels_have_no_noise():
    x = noisy_file()
    before = measured(x, "inpaint:center,16 | denoise").problem
    x[16:32, 24:40] = 1
    after = measured(x, "inpaint:center,16 | denoise").problem
    assert after.noise_std == before.noise_std
    np.testing.assert_array_equal(after.y, before.y)


@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_noise_in_white_and_black_is_not_biased_by_clipping(level):
    x = noisy_file(level=level)
    y = measured(x, "denoise:0.1").problem.y
    assert abs(x.mean() - level) > 0.07 and abs(y.mean() - level) < 0.02
    assert (np.asarray(y)[np.abs(x) < 1] == x[np.abs(x) < 1]).all()
    # Without noise there is nothing to undo.
    np.testing.assert_array_equal(measured(x, "super_resolution:2").problem.y, x)


def test_simulation_crops_to_multiples_and_adds_noise_in_units_of_files():
    key = jax.random.key(0)
    case = simulated(picture(17, 25), "super_resolution:4", 0.1, key)
    assert case.original.shape == (16, 24, 3)
    assert "16 x 24" in case.remarks[0]
    noise = case.problem.y - case.problem.operator.apply(case.original)
    assert abs(noise.std() - 0.2) < 0.03


@pytest.mark.parametrize(
    "task",
    [
        "super_resolution:2,box",
        "super_resolution:2,bicubic",
        "inpaint:freeform",
        "jpeg:30",
        "quantize:3",
        "super_resolution:2 | jpeg:50",
    ],
)
def test_noiseless_restorations_agree_with_the_file(task):
    ramp = np.linspace(-0.6, 0.6, 16)
    x = np.add.outer(ramp, 0.5 * ramp)[..., None] + 0.1 * picture(16, 16)
    x = to_levels(x).astype(np.float32) / 127.5 - 1
    if "jpeg" in task:
        # A picture that came from a JPEG encoder.
        tiles = np.tile(x, (2, 2, 1))
        whole = simulated(tiles, task, None, jax.random.key(0)).problem
        x = np.asarray(whole.operator.to_picture(whole.y))
        x = to_levels(x).astype(np.float32) / 127.5 - 1
    problem = measured(x, task).problem
    sampler = samplers.Fitted(steps=3)
    result = restore_picture(GREY, problem, jax.random.key(0), sampler)
    image = result.picture
    np.testing.assert_array_equal(to_levels(image), result.pixels)
    sentence = mismatch_text(problem, float(result.mismatch))
    if problem.operator.linear:
        assert float(sentence.split()[0]) < 0.01
    else:
        assert float(sentence.split("%")[0]) < 25
    if task == "inpaint:freeform":
        kept = np.asarray(problem.operator.mask[..., 0]) == 1
        np.testing.assert_array_equal(to_levels(image)[kept], to_levels(x)[kept])


def test_samples_have_the_posteriors_mean_and_deviation():
    """On a Gaussian prior, against the closed form, pixel by pixel."""
    shape, noise_std, count = (4, 4, 3), 0.1, 500
    line = 0.9 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    covariance = 0.25 * np.kron(np.kron(line, line), 0.5 * np.eye(3) + 0.5)
    prior = gaussian_prior(jnp.zeros(shape), covariance)
    operator = super_resolution(shape, 2)
    problem = Problem(operator, jnp.full((2, 2, 3), 0.1), noise_std)
    truth = exact_posterior(prior, problem)
    sampler = samplers.DDIM(guidance=guidance.Moment())
    images = jax.vmap(lambda key: restore(prior, problem, key, sampler))(
        jax.random.split(jax.random.key(0), count)
    )
    images = np.asarray(images)
    mean, std = images.mean(0), np.std(images, 0, ddof=1)
    exact_std = np.sqrt(np.diag(truth.covariance)).reshape(shape)
    # 100 steps give 5 % too little deviation; the rest is Monte Carlo error.
    np.testing.assert_allclose(
        mean, truth.mean, atol=5 * exact_std.max() / np.sqrt(count)
    )
    np.testing.assert_allclose(std, exact_std, rtol=0.05 + 5 / np.sqrt(2 * count))
    shown = deviation_map(std)
    assert shown.shape == (4, 4, 1) and shown.max() == 1 and shown.min() > -1


def test_pictures_larger_than_the_prior_are_tiled(smooth_prior):
    assert fit_prior(smooth_prior, (8, 8, 3), None) is smooth_prior
    assert fit_prior(GREY, (80, 80, 3), None) is GREY
    assert fit_prior(GREY, (80, 80, 3), 16).tile == 16
    fitted = fit_prior(smooth_prior, (8, 20, 3), None)
    assert (fitted.tile, fitted.overlap) == (8, 2)


@pytree_class
class Shortsighted(Prior):
    """Wrong on images of more than 16 pixels a side."""

    schedule: Schedule = static_field()
    trained_size = 10

    def __call__(self, x_t, t):
        """The noise of grey images; a saturated spot in large ones."""
        alpha_bar = jnp.asarray(self.schedule.alpha_bar)[jnp.int32(t)]
        eps = x_t / jnp.sqrt(1 - alpha_bar)
        return eps.at[0, 0].add(30.0) if max(x_t.shape) > 16 else eps


def test_pictures_beyond_twice_the_trained_size_are_tiled():
    prior, shape = Shortsighted(Schedule.linear()), (20, 24, 3)
    assert fit_prior(prior, (20, 16, 3), None) is prior
    assert fit_prior(prior, shape, 0) is prior
    tiled = fit_prior(prior, shape, None)
    assert tiled.tile == 12  # the least for 2 x 3 windows that overlap by 3
    problem = measure(inpaint(shape, random_mask(shape, 0.5)), jnp.zeros(shape))
    outliers = [
        float(jnp.abs(restore(p, problem, jax.random.key(0), samplers.DDIM(4))).max())
        for p in (prior, tiled)
    ]
    assert outliers[0] > 5 and outliers[1] < 3
    request = Request(Task.parse("denoise:0.1"))
    (remark,) = request.tiling_remarks(tiled)
    assert "windows of 12 pixels" in remark
    assert not request.tiling_remarks(prior)


def test_a_trace_is_drawn(smooth_prior):
    operator = super_resolution(smooth_prior.image_shape, 4)
    y = jnp.zeros((2, 2, 3))
    sampler = samplers.DDIM(steps=5)
    _, trace = restore(
        smooth_prior, Problem(operator, y), jax.random.key(0), sampler, trace=True
    )
    plot = plot_traces([trace, trace], noise_std=0.1)
    assert plot.mode == "RGB" and np.asarray(plot).std() > 5


def test_a_result_that_is_not_finite_is_an_error():
    broken = from_denoiser(lambda x, t: x / (t - 499.0) * jnp.inf)
    problem = measured(picture(), "inpaint:freeform").problem
    with pytest.raises(ValueError, match=r"not finite: .*safer \(step 1 of 2 is the"):
        restore_picture(broken, problem, jax.random.key(0), samplers.DDIM(steps=2))


@pytest.mark.parametrize(
    "task, noise, message",
    [
        ("crop:8,8", None, "makes pictures of 8 x 8 pixels"),
        ("jpeg:10", 0.1, "put the noise where it was added"),
        ("sharpen", None, "no operator 'sharpen'; there are identity, crop"),
        ("jpeg:200", None, "from 1 to 100"),
    ],
)
def test_an_invalid_request_is_refused_in_one_sentence(task, noise, message):
    with pytest.raises(ValueError, match=message) as caught:
        if noise is None:
            measured(picture(), task, noise)
        else:
            simulated(picture(), task, noise, jax.random.key(0))
    assert "\n" not in str(caught.value)


def test_a_mask_of_the_users_own_is_asked_for():
    with pytest.raises(ValueError, match=r"write inpaint:mask\.png"):
        degradation_of_file((8, 8), Task.parse("inpaint"))
    (remark,) = degradation_of_file((8, 8), Task.parse("inpaint:freeform")).remarks
    assert "for damage of your own write inpaint:mask.png" in remark
    assert not degradation_to_simulate((8, 8), Task.parse("inpaint")).remarks
