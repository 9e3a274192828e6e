"""Files of every kind, restored alone and in a folder."""

import jax
import numpy as np
import pytest
from folder_job import GREY, REQUEST, job
from PIL import Image
from test_files import P3, pixels, save
from test_folder import lines as journal

from pigdm_jax.folder.job import run
from pigdm_jax.folder.listing import list_folder
from pigdm_jax.pictures.decoding import decode
from pigdm_jax.pictures.grey_noise import GAIN, spread
from pigdm_jax.pictures.levels import from_levels
from pigdm_jax.pictures.request import Request
from pigdm_jax.pictures.results import restore_picture
from pigdm_jax.pictures.task import Task
from pigdm_jax.pictures.writing import write_restored
from pigdm_jax.samplers import Fitted

SIZE = (8, 12)


def kinds(folder):
    """One file of each kind, all of one size."""
    folder.mkdir()
    for name, channels, dtype, profile in (
        ("plain.png", 3, np.uint8, None),
        ("grey.png", 1, np.uint8, None),
        ("clear.png", 4, np.uint8, None),
        ("deep.tif", 3, np.uint16, None),
        ("wide.tif", 3, np.uint8, P3),
    ):
        save(folder / name, pixels(channels, dtype, SIZE), profile)
    return folder


def test_a_folder_of_every_kind(tmp_path):
    folder, remarks = kinds(tmp_path / "in"), []
    save(folder / "clear2.png", pixels(4, np.uint8, SIZE, seed=1))
    summary = run(job(folder, tmp_path / "out", remark=remarks.append))
    assert (summary.restored, summary.failed) == (6, 0)
    lines = journal(tmp_path / "out")
    found = {line["input"]: line for line in lines}
    assert "alpha channel" in found["clear.png"]["notes"][0]
    assert found["clear2.png"]["notes"] == found["clear.png"]["notes"]
    assert len([text for text in remarks if "alpha channel" in text]) == 1
    assert "sRGB, and back" in found["wide.tif"]["notes"][0]
    assert "notes" not in found["plain.png"] and "notes" not in found["grey.png"]
    for path in folder.iterdir():
        source, out = decode(path), decode(tmp_path / "out" / f"{path.stem}.png")
        assert (out.bits, out.grey, out.profile) == (
            source.bits,
            source.grey,
            source.profile,
        )
        assert out.size == (16, 24) and (out.alpha is None) == (source.alpha is None)
        # A large pixel block has the mean of the small pixel, in 16 bits to 16 bits.
        image = from_levels(out.pixels).reshape(8, 2, 12, 2, -1).mean((1, 3))
        inside = (np.abs(from_levels(source.pixels)) < 0.6).all(-1)
        off = np.abs(image - from_levels(source.pixels))[inside]
        assert off.max() < (1e-3 if source.bits == 16 else 0.04)


@pytest.mark.parametrize("name", ["deep.tif", "wide.tif"])
def test_kept_pixels_of_one_picture_are_those_of_the_file(name, tmp_path):
    path = kinds(tmp_path / "in") / name
    request = Request(Task.parse("inpaint:center,4"), sampler=Fitted(steps=1))
    case, key = request.read(path)
    restored = restore_picture(GREY, case.problem, key, request.sampler, kept=case.kept)
    write_restored(tmp_path / "out.tif", restored.picture, case.kept)
    kept = np.asarray(case.problem.operator.mask[..., 0]) == 1
    source, out = decode(path), decode(tmp_path / "out.tif")
    off = np.abs(source.pixels.astype(int) - out.pixels)[kept]
    assert off.max() <= 1 and out.pixels.dtype == source.pixels.dtype


def test_a_quantisers_numbers_are_not_converted(tmp_path):
    path = save(tmp_path / "a.tif", pixels(3, size=(16, 16)), P3)
    for task, converted in (("jpeg:50", False), ("super_resolution:2", True)):
        request = Request(Task.parse(task))
        case, _ = request.read(path)
        assert case.kept.profile == P3 and case.kept.converted == converted
    simulated, _ = Request(Task.parse("jpeg:50"), simulate=True).read(path)
    assert simulated.kept.converted


def test_simulated_alpha_is_cropped_with_its_picture(tmp_path):
    path = save(tmp_path / "a.png", pixels(4, size=(9, 13)))
    case, _ = Request(Task.parse("super_resolution:4"), simulate=True).read(path)
    assert case.kept.alpha.shape == case.original.shape[:2] == (8, 12)


def test_grey_pictures_get_colour_from_grayscale_alone(tmp_path):
    path = save(tmp_path / "a.png", pixels(1, size=SIZE))
    for task, grey in (("grayscale", False), ("denoise:0.1", True)):
        case, _ = Request(Task.parse(task)).read(path)
        assert case.kept.grey == grey


def listed(listing):
    return [entry for entries in listing.groups.values() for entry in entries]


def test_what_is_left_out_of_a_folder_is_counted(tmp_path):
    folder = tmp_path / "in"
    save_at = lambda name: (  # noqa: E731
        (folder / name).parent.mkdir(parents=True, exist_ok=True),
        Image.new("RGB", SIZE).save(folder / name, "PNG"),
    )
    for name in ("a.png", "more/b.png", "more/c.PNG", ".hidden.png", ".thumbs/d.png"):
        save_at(name)
    (folder / "notes.txt").write_text("text")
    flat = list_folder(folder, tmp_path / "out")
    assert [e.name for e in listed(flat)] == ["a.png"]
    assert flat.left_out == (
        "left out: 2 pictures in sub-folders (--recursive restores them), 1 file of "
        "other kinds, 2 hidden files"
    )
    deep = list_folder(folder, tmp_path / "out", recursive=True)
    assert len(listed(deep)) == 3
    assert deep.left_out == "left out: 1 file of other kinds, 2 hidden files"
    (folder / "a.png").unlink()
    with pytest.raises(ValueError, match="2 pictures in sub-folders"):
        list_folder(folder, tmp_path / "out")


def test_a_remark_says_what_is_left_out(tmp_path):
    folder, remarks = kinds(tmp_path / "in"), []
    for path in folder.glob("[!p]*"):
        path.unlink()
    (folder / "b.txt").write_text("text")
    run(job(folder, tmp_path / "out", remark=remarks.append))
    assert remarks[0] == "note: left out: 1 file of other kinds"


def test_the_same_pixels_restore_to_the_same_bytes(tmp_path):
    """A plain file of 8 bits is written as Pillow alone writes it."""
    path = kinds(tmp_path / "in") / "plain.png"
    case, key = REQUEST.read(path)
    restored = restore_picture(
        GREY, case.problem, jax.random.fold_in(key, 0), REQUEST.sampler, kept=case.kept
    )
    write_restored(tmp_path / "a.png", restored.picture, case.kept)
    Image.fromarray(np.asarray(restored.pixels)).save(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_grey_noise_becomes_independent_in_each_channel():
    rng = np.random.default_rng(0)
    noise = 0.2 * rng.standard_normal((200, 200, 1))
    grey = np.repeat(0.3 + noise, 3, -1).astype(np.float32)
    image = spread(grey, 0.2, jax.random.key(0))
    np.testing.assert_allclose(image.mean(-1), grey[..., 0], atol=1e-5)
    covariance = np.cov((image - 0.3).reshape(-1, 3).T)
    np.testing.assert_allclose(covariance, 3 * 0.2**2 * np.eye(3), atol=0.003)


@pytest.mark.parametrize(
    "task", ["denoise", "denoise:0.1", "super_resolution:2 | denoise:0.1"]
)
def test_noise_of_grey_pictures_alone_and_in_a_folder(task, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, channels in (("grey", 1), ("colour", 3)):
        noisy = 127 + 25.5 * rng.standard_normal((32, 40, channels))
        save(folder / f"{name}.png", np.rint(noisy.clip(0, 255)).astype(np.uint8))
    request = Request(Task.parse(task))
    for name, gain in (("grey", GAIN), ("colour", 1)):
        case, _ = request.read(folder / f"{name}.png")
        assert abs(case.problem.noise_std / (0.2 * gain) - 1) < 0.2
        if task == "denoise:0.1" and name == "grey":
            mean = np.asarray(case.problem.y).mean(-1)
            shown = from_levels(decode(folder / "grey.png").pixels)[..., 0]
            inside = np.abs(shown) < 1
            np.testing.assert_allclose(mean[inside], shown[inside], atol=1e-5)
    if "super" in task:
        return
    run(job(folder, tmp_path / "out", request=request))
    lines = journal(tmp_path / "out")
    for line in lines:
        assert line["error"] is None
        if task == "denoise":
            assert abs(line["noise"] / 0.1 - 1) < 0.2
        assert line["off"] < 0.2
