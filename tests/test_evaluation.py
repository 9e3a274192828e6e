"""Metrics of folders: pairs by name, values, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pigdm_jax as pj
from pigdm_jax.metrics import METRICS, ImageMetric, evaluate_folders
from pigdm_jax.metrics.evaluation import choose_metrics, plan_evaluation


def write(folder, name, size=(16, 12), seed=0):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Restored pictures of two sizes, in sub-folders, and their references."""
    names = ["b.png", "a.png", "in/c.png", "in/d.png", "in/e.png"]
    for i, name in enumerate(names):
        size = (16, 12) if i % 2 else (12, 20)
        write(tmp_path / "restored", name, size, i)
        write(tmp_path / "clean", name.replace("b.png", "b.bmp"), size, 10 + i)
    return tmp_path / "restored", tmp_path / "clean"


def brightness(image):
    return jnp.mean(image)


BRIGHTNESS = ImageMetric(
    *("brightness", "Brightness", "higher"), inputs=("image",), function=brightness
)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_values_are_those_of_each_picture_alone(folders, batch):
    restored, clean = folders
    found = evaluate_folders(restored, clean, ("psnr", "ssim"), batch=batch)
    assert found.count == 5
    assert list(found.per_image["psnr"]) == sorted(found.per_image["psnr"])
    for name in ("psnr", "ssim"):
        values = found.per_image[name]
        for key, value in values.items():
            image = pj.read_image(restored / key)
            reference = pj.read_image(clean / key.replace("b.png", "b.bmp"))
            alone = METRICS[name](image, reference)
            np.testing.assert_allclose(value, alone, rtol=1e-5)
        column = np.array(list(values.values()))
        summary = found.summary[name]
        np.testing.assert_allclose(summary.value, column.mean())
        np.testing.assert_allclose(summary.error, column.std(ddof=1) / np.sqrt(5))


def test_equal_pictures_have_an_infinite_psnr(folders):
    restored, _ = folders
    found = evaluate_folders(restored, restored, ["psnr"])
    assert found.summary["psnr"] == (np.inf, None)


def test_a_metric_of_ones_own_without_references(folders):
    done = []
    found = evaluate_folders(
        folders[0], None, [BRIGHTNESS], progress=lambda *pair: done.append(pair)
    )
    picture = pj.read_image(folders[0] / "in/c.png")
    value = found.per_image["brightness"]["in/c.png"]
    np.testing.assert_allclose(value, picture.mean(), atol=1e-6)
    assert done[0] == (0, 5) and done[-1] == (5, 5)


def test_consistency_compares_measurements(folders):
    restored, clean = folders
    task = "super_resolution:2,box | grayscale"
    found = evaluate_folders(restored, clean, [f"consistency:{task}", "psnr"])
    assert found.metrics["consistency"].title == f"Consistency with {task}"
    for key, value in found.per_image["consistency"].items():
        pair = [
            pj.read_image(path).mean(axis=-1)
            for path in (restored / key, clean / key.replace("b.png", "b.bmp"))
        ]
        height, width = pair[0].shape
        blocks = [
            x.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)) for x in pair
        ]
        expected = np.sqrt(np.mean((blocks[0] - blocks[1]) ** 2)) / 2
        np.testing.assert_allclose(value, expected, rtol=1e-4)
    for text, said in (
        ("consistency", "no metric 'consistency'; there are psnr, .* consistency:TASK"),
        ("consistency:none", "none"),
        ("consistency:super_resolution:5,box", "multiples of 5; the image is"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_evaluation(restored, clean, [text])


def test_a_metric_of_labels(folders):
    def match(image, label):
        return label + 0.0 * image[0, 0, 0]

    metric = ImageMetric(
        *("match", "Match", "higher"), inputs=("image", "label"), function=match
    )
    labels = {"a": 1, "b.png": 2, "in/c": 3, "in/d": 4, "in/e.png": 5}
    found = evaluate_folders(folders[0], None, [metric], labels=labels)
    assert list(found.per_image["match"].values()) == [1, 2, 3, 4, 5]
    for wrong, said in (
        (None, "match needs the labels"),
        ({"a": 1}, "no label for b.png"),
        (labels | {"a": -1}, "the label of a.png must be a whole number from 0 on"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_evaluation(folders[0], None, [metric], labels=wrong)


def test_pictures_of_one_stem_are_paired_by_their_whole_names(tmp_path):
    """Folders of them are restored as a.jpg.png and a.png.png."""
    for i, name in enumerate(["a.bmp", "a.png"]):
        write(tmp_path / "clean", name, seed=i)
        write(tmp_path / "restored", f"{name}.png", seed=i)
    found = evaluate_folders(tmp_path / "restored", tmp_path / "clean", ["psnr"])
    assert list(found.per_image["psnr"].values()) == [np.inf, np.inf]


def test_a_folder_inside_the_other_is_no_part_of_it(tmp_path):
    write(tmp_path, "a.png")
    write(tmp_path / "restored", "a.png")
    assert evaluate_folders(tmp_path / "restored", tmp_path, ["psnr"]).count == 1


def test_what_does_not_fit_is_refused_before_anything_is_computed(folders, tmp_path):
    restored, clean = folders
    write(restored, "more.png")
    with pytest.raises(ValueError, match=r"for 1 of 6 pictures; .* more.png"):
        plan_evaluation(restored, clean)
    write(clean, "more.png", (13, 20))
    with pytest.raises(ValueError, match=r"more.png has 16 x 12 .* more.png has 13 x"):
        plan_evaluation(restored, clean)
    (restored / "more.png").unlink()
    with pytest.raises(ValueError, match=r"for 1 of 6 references; .* more.png"):
        plan_evaluation(restored, clean)
    assert len(plan_evaluation(restored, clean, partial=True).rows) == 5
    write(restored, "more.png", (13, 20)).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"more.png"):
        plan_evaluation(restored, clean)


def test_wrong_arguments_are_refused(folders, tmp_path):
    restored, clean = folders
    (tmp_path / "empty").mkdir()
    for args, said in (
        ((restored, None), "psnr needs a folder of reference pictures"),
        ((restored, tmp_path / "none"), "there is no file"),
        ((tmp_path / "empty", clean), "holds no pictures"),
        ((restored / "a.png", clean), "must be a folder of pictures"),
        ((restored, clean, ["mse"]), "no metric 'mse'; there are psnr, ssim"),
        ((restored, clean, ["psnr", "psnr"]), "must be different ones"),
        ((restored, clean, []), "must be different ones"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_evaluation(*args)
    with pytest.raises(ValueError, match="batch must be"):
        plan_evaluation(restored, clean, batch=0)
    for wrong in ([3], "psnr", 3):
        with pytest.raises(TypeError, match="must be"):
            choose_metrics(wrong)
