"""Distances between distributions of features, and their statistics in files."""

import dataclasses
import os
import subprocess
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from test_evaluation import write

import pigdm_jax as pj
from pigdm_jax.metrics import (
    METRICS,
    FeatureNetwork,
    FrechetDistance,
    Gaussian,
    ImageMetric,
    KernelDistance,
    evaluate_folders,
    frechet_distance,
    kernel_distance,
    plan_evaluation,
    read_statistics,
    write_statistics,
)
from pigdm_jax.metrics.frechet import Moments


@pj.pytree_class
class Corners(FeatureNetwork):
    """Six numbers of an image."""

    factor: float = 1.0

    def prepare(self, image):
        return jnp.stack([image[0, 0], image[-1, -1]])

    def features(self, prepared):
        return self.factor * prepared.ravel()


CORNERS = Corners()
FID = FrechetDistance("fid", "FID", "lower", network=CORNERS, features=6)
KID = KernelDistance("kid", "KID", "lower", network=CORNERS)


def gaussian(rng, size, rank, scale=1.0):
    factor = scale * rng.normal(size=(size, rank))
    return Gaussian(rng.normal(size=size), factor @ factor.T)


def by_scipy(a, b):
    """As pytorch-fid computes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    traces = np.trace(a.covariance + b.covariance - 2 * np.real(root))
    return np.sum((a.mean - b.mean) ** 2) + traces


@pytest.mark.parametrize("ranks", [(40, 40), (40, 30), (10, 60), (7, 5), (1, 1)])
def test_the_distance_is_that_of_scipys_square_root(ranks):
    rng = np.random.default_rng(0)
    a, b = (gaussian(rng, 40, rank) for rank in ranks)
    np.testing.assert_allclose(frechet_distance(a, b), by_scipy(a, b), rtol=1e-5)


@pytest.mark.parametrize("smallest", [1e-2, 1e-8, 1e-16, 0.0])
def test_near_singular_covariances_that_commute_have_a_closed_form(smallest):
    rng = np.random.default_rng(1)
    basis = scipy.linalg.qr(rng.normal(size=(50, 50)))[0]
    values = np.geomspace(1, max(smallest, 1e-30), 50), rng.uniform(0, 1, 50)
    values[0][25:] *= smallest > 0
    a, b = (Gaussian(np.zeros(50), (basis * v) @ basis.T) for v in values)
    expected = np.sum((np.sqrt(values[0]) - np.sqrt(values[1])) ** 2)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-7)
    assert abs(frechet_distance(a, a)) < 1e-7


def test_the_distance_is_symmetric_and_of_equal_sizes():
    rng = np.random.default_rng(2)
    a, b = gaussian(rng, 8, 8), gaussian(rng, 8, 3)
    np.testing.assert_allclose(frechet_distance(a, b), frechet_distance(b, a))
    with pytest.raises(ValueError, match="of 8 and of 7 features"):
        frechet_distance(a, gaussian(rng, 7, 7))


def test_moments_are_numpys_for_large_features_too():
    rng = np.random.default_rng(3)
    rows = 1e6 + rng.normal(size=(50, 5))
    moments = Moments()
    for part in np.array_split(rows, 7):
        moments.add(part)
    mean, covariance = moments.gaussian()
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(covariance, np.cov(rows, rowvar=False), atol=1e-10)


def test_the_kernel_distance_is_a_sum_over_pairs():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 3)), 0.5 + rng.normal(size=(4, 3))

    def mean(a, b, same):
        return np.mean(
            [
                (p @ q / 3 + 1) ** 3
                for i, p in enumerate(a)
                for j, q in enumerate(b)
                if not (same and i == j)
            ]
        )

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    np.testing.assert_allclose(kernel_distance(x, y), expected)


def test_the_kernel_distance_is_unbiased():
    rng = np.random.default_rng(5)
    draws = [
        kernel_distance(rng.normal(size=(5, 2)), rng.normal(size=(5, 2)))
        for _ in range(4000)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error


@pytest.fixture
def folders(tmp_path):
    for i in range(9):
        size = (16, 12) if i % 3 else (12, 20)
        write(tmp_path / "restored", f"{i}.png", size, i)
        if i < 8:
            write(tmp_path / "clean", f"x{i}.png", size, 20 + i)
    return tmp_path / "restored", tmp_path / "clean"


def features(folder):
    images = [pj.read_image(path) for path in sorted(folder.iterdir())]
    return np.stack([np.ravel([x[0, 0], x[-1, -1]]) for x in images])


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_folders_need_no_pairs(folders, batch):
    ours, theirs = map(features, folders)
    found = evaluate_folders(*folders, [FID, KID], batch=batch)
    a, b = (Gaussian(x.mean(0), np.cov(x, rowvar=False)) for x in (ours, theirs))
    np.testing.assert_allclose(found.summary["fid"].value, by_scipy(a, b), rtol=1e-4)
    assert found.summary["fid"].error is None and found.per_image == {}
    value, error = found.summary["kid"]
    assert error > 0
    assert abs(value - kernel_distance(ours, theirs)) < 5 * error
    assert found.remarks == ("KID is the mean of subsets of 4 images, not 1000",)


def test_features_are_an_input_of_metrics_of_one_image(folders):
    metric = ImageMetric(
        *("first", "First", "lower"),
        network=CORNERS,
        inputs=("features", "label"),
        function=lambda features, label: features[0] + label,
    )
    labels = {str(i): 10 * i for i in range(9)}
    found = evaluate_folders(*folders, [metric, FID], labels=labels, batch=4)
    expected = features(folders[0])[:, 0] + 10 * np.arange(9)
    np.testing.assert_allclose(list(found.per_image["first"].values()), expected)
    assert found.summary["fid"].value == pytest.approx(
        evaluate_folders(*folders, [FID]).summary["fid"].value
    )
    limited = dataclasses.replace(metric, classes=80)
    with pytest.raises(ValueError, match=r"label of 8.png .* from 0 to 79, got 80"):
        plan_evaluation(*folders, [limited], labels=labels)


ON_DEVICES = """
import sys, jax
from test_distributions import FID, evaluate_folders
assert jax.device_count() == 3
found = evaluate_folders(*sys.argv[1:], [FID, "psnr"], batch=4)
print(*(summary.value for summary in found.summary.values()))
"""


def test_three_devices_give_what_one_gives(folders):
    """Batches of 4, 2 and 3 pictures, of two sizes."""
    restored, clean = folders
    for i in range(9):
        write(clean, f"{i}.png", (16, 12) if i % 3 else (12, 20), 20 + i)
    for path in clean.glob("x*.png"):
        path.unlink()
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", ON_DEVICES, restored, clean]
    run = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    found = evaluate_folders(restored, clean, [FID, "psnr"])
    expected = [summary.value for summary in found.summary.values()]
    np.testing.assert_allclose([*map(float, run.stdout.split())], expected, rtol=1e-4)


def test_statistics_are_saved_and_reused(folders, tmp_path):
    restored, clean = folders
    file = tmp_path / "clean.npz"
    first = evaluate_folders(restored, clean, [FID, KID], save_statistics=file)
    again = evaluate_folders(restored, file, [FID])
    np.testing.assert_allclose(again.summary["fid"].value, first.summary["fid"].value)
    with np.load(file) as saved:
        assert sorted(saved) == ["mu", "sigma"] and saved["mu"].dtype == np.float64
        np.testing.assert_allclose(saved["mu"], features(clean).mean(0), rtol=1e-6)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_statistics_that_cannot_be_used_are_refused(folders, tmp_path):
    restored, clean = folders
    file = tmp_path / "stats.npz"
    write_statistics(file, Gaussian(np.zeros(6), np.eye(6)))
    for metric, said in (
        ("psnr", "psnr needs a folder of reference pictures, and .* holds statistics"),
        (KID, "kid needs the reference pictures"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_evaluation(restored, file, [metric])
    with pytest.raises(ValueError, match="there is no file"):
        plan_evaluation(restored, tmp_path / "none.npz", [FID])
    file.write_bytes(b"PK\x03\x04 not whole")
    with pytest.raises(ValueError, match="holds no statistics"):
        read_statistics(file)
    for arrays, said in (
        ({"mu": np.zeros(3)}, "holds no statistics"),
        ({"mu": np.zeros(3), "sigma": np.eye(2)}, "sigma must be square"),
        ({"mu": np.zeros(2), "sigma": np.eye(2) * np.nan}, "must be finite"),
        ({"mu": np.array([None]), "sigma": np.eye(1)}, "holds no statistics"),
    ):
        np.savez(file, **arrays)
        with pytest.raises(ValueError, match=said):
            read_statistics(file)
    for output, metrics, said in (
        (tmp_path / "a.npy", [FID], "in a .npz file"),
        (tmp_path / "none/a.npz", [FID], "in a folder that exists"),
        (tmp_path / "a.npz", [KID], "by the metric fid"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_evaluation(restored, clean, metrics, save_statistics=output)


def test_few_images_are_remarked_on_or_refused(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, "1.png")
    both = tmp_path / "a", tmp_path / "b"
    with pytest.raises(ValueError, match="fid needs two images at least, got 1"):
        plan_evaluation(*both, ["fid"])
    for folder in both:
        write(folder, "2.png")
    with pytest.raises(ValueError, match="kid needs four images at least, got 2"):
        plan_evaluation(*both, ["kid"])
    (remark,) = plan_evaluation(*both, ["fid"]).remarks
    assert "fewer than its 2048 features" in remark
    write(tmp_path / "a", "3.png", (8, 40))
    with pytest.raises(ValueError, match=r"lpips needs sides of 32 .* 16 x 12 pixels"):
        plan_evaluation(*both, ["lpips"])


def test_every_metric_states_what_it_is():
    assert [metric.name for metric in METRICS.values()] == list(METRICS)
    for metric in METRICS.values():
        assert metric.better in ("higher", "lower") and metric.title
        assert hash(metric) is not None
