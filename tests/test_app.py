"""The page in the browser, without a browser: `tests/test_app_browser.py` has one."""

import importlib.util
import shlex
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from pigdm_jax.app.choices import Choices, check_prior_offered, whole_or_none
from pigdm_jax.app.damages import KINDS, Damage, check_damage, needs_mask, task_for
from pigdm_jax.app.examples import EXAMPLES
from pigdm_jax.app.pace import Pace
from pigdm_jax.app.planning import jpeg_quality, mask_size, plan_for
from pigdm_jax.app.running import Device, Failed, Finished, Restoration, State, reason
from pigdm_jax.app.serving import Options
from pigdm_jax.app.showing import alert, progress_of, show_finished
from pigdm_jax.app.uploads import (
    Limits,
    Visitors,
    hidden_by,
    safe_name,
    shown,
    write_mask,
)
from pigdm_jax.app.warming import POLL, Warmer
from pigdm_jax.cli.flags import RestoreFlags
from pigdm_jax.pictures.parameters import read_mask
from pigdm_jax.pictures.reading import read_image

LIMITS = Limits()


@pytest.fixture
def photo(tmp_path) -> Path:
    """A small photo with a name that shells and tasks would trip over."""
    pixels = np.asarray(Image.open(EXAMPLES[3].photo))[:16, :16]
    path = tmp_path / "my, photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("damages", "simulate", "task"),
    [
        (["small"], False, "super_resolution:4"),
        (["holes"], False, "inpaint:mask.png"),
        (["blurred"], False, "gaussian_blur:2.0 | denoise:0.01"),
        (["shaken"], True, "motion_blur:9.0,0.0 | denoise:0.01"),
        (["noisy"], False, "denoise"),
        (["noisy"], True, "denoise:0.1"),
        (["jpeg"], False, "jpeg"),
        (["jpeg"], True, "jpeg:20"),
        (["clipped"], False, "low_dynamic_range:0.6,identity,4"),
        (["banded"], False, "quantize:4"),
        (["grey"], False, "grayscale"),
        (["blurred", "jpeg"], False, "gaussian_blur:2.0 | jpeg"),
        (["blurred", "noisy"], True, "gaussian_blur:2.0 | denoise:0.1"),
        (["small", "jpeg", "grey"], True, "super_resolution:4 | jpeg:20 | grayscale"),
    ],
)
def test_damages_make_tasks(damages, simulate, task):
    assert str(task_for([Damage(kind) for kind in damages], simulate=simulate)) == task


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Damage("burnt"), "no damage"),
        (Damage("small", {"factor": 5}), "choose one of the list"),
        (Damage("small", {"factor": "4,/etc/passwd"}), "choose one of the list"),
        (Damage("jpeg", {"quality": 1000, "header": False}), "from 1 to 95"),
        (Damage("jpeg", {"quality": "/etc/x.jpg", "header": False}), "a number"),
        (Damage("blurred", {"std": float("nan")}), "from 0.5 to 10"),
        (Damage("blurred", {"std": None}), "a number"),
        (Damage("holes", {"where": "/etc/mask.png"}), "choose one of the list"),
    ],
)
def test_what_the_page_does_not_offer_is_refused(damage, message):
    with pytest.raises(ValueError, match=message):
        check_damage(damage)


def test_defaults_are_offered():
    for kind in KINDS:
        assert check_damage(check_damage(Damage(kind))) == check_damage(Damage(kind))


def test_priors_are_names_of_the_list():
    assert check_prior_offered("photos-64") == "photos-64"
    for other in ("/etc", "../weights", "imagenet-256", None, 3):
        with pytest.raises(ValueError, match="not on the server"):
            check_prior_offered(other)


@pytest.mark.parametrize(
    "choices",
    [
        Choices((Damage("small", {"factor": 2, "kernel": "bicubic"}),), seed=7),
        Choices((Damage("holes"), Damage("jpeg")), simulate=True, steps=3),
        Choices((Damage("noisy"),), aim="detail", steps=5, samples=3),
        Choices(
            (Damage("grey"),), sampler="ddnm", steps=20, tile=128, label=4, cfg=2.0
        ),
        Choices((Damage("holes"),), prior="photos-64"),
    ],
)
def test_command_makes_the_same_request(choices):
    mask = "it's a, mask.png"
    words = shlex.split(choices.command("my photo.png", mask))
    assert words[:3] == ["pigdm", "restore", "my photo.png"]
    options = words[3:]
    if choices.samples != 1:
        at = options.index("--samples")
        assert int(options[at + 1]) == choices.samples
        del options[at : at + 2]
    flags = tyro.cli(RestoreFlags, args=options)
    assert flags.request().settings() == choices.request(mask).settings()


@pytest.mark.parametrize(
    "choices",
    [
        Choices((Damage("small"),), steps=0),
        Choices((Damage("small"),), samples=100),
        Choices((Damage("small"),), seed=-1),
        Choices((Damage("small"),), sampler="nothing"),
        Choices((Damage("small"),), sampler="ddim", aim="detail"),
        Choices((Damage("noisy"), Damage("noisy"))),
        Choices(()),
    ],
)
def test_impossible_choices_are_sentences(choices):
    with pytest.raises(ValueError):
        choices.request()


def test_numbers_of_the_page():
    assert [whole_or_none(x) for x in (None, "", 3.0, "7")] == [None, None, 3, 7]
    for wrong in (2.5, True, "x", [1]):
        with pytest.raises(ValueError):
            whole_or_none(wrong)


def bomb(width: int, height: int) -> bytes:
    """A PNG file whose header claims many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for name, data in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        body = name + data
        chunks += struct.pack(">I", len(data)) + body
        chunks += struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bomb(60_000, 60_000), "taken for an attack"),
        (bomb(5000, 5000), "more than the 16 megapixels"),
        (b"no picture", "not a picture that can be read"),
        (b"", "not a picture that can be read"),
        (b"x" * 60_000_000, "60 MB"),
    ],
)
def test_uploads_are_limited(tmp_path, content, message):
    file = tmp_path / "upload.png"
    file.write_bytes(content)
    visitor = Visitors(tmp_path).of("a")
    with pytest.raises(ValueError, match=message) as caught:
        visitor.keep_photo(file, LIMITS)
    assert str(tmp_path) not in str(caught.value)
    assert visitor.photo is None
    assert not list(visitor.folder.rglob("*.png"))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd.png"),
        ("..\\a.png", "a.png"),
        (".png", "photo.png"),
        ("{stem}.png", "(stem).png"),
        ("-o.png", "photo-o.png"),
        ("a\x1b[2J.png", "a-x1b[2J.png"),
        ("x" * 300 + ".png", "x" * 100 + ".png"),
        ("script.html", "script.html.png"),
    ],
)
def test_names_of_uploads_are_harmless(name, safe):
    assert safe_name(name) == safe


def test_files_go_when_the_visitor_does(tmp_path, photo):
    visitors = Visitors(tmp_path)
    visitor = visitors.of("a")
    kept = visitor.keep_photo(photo, LIMITS)
    assert kept.read_bytes() == photo.read_bytes()
    assert kept.name == photo.name
    visitors.forget("a")
    assert not visitor.folder.exists()
    assert visitor.stop.is_set()
    visitors.forget("a")


def test_mask_is_where_the_paint_is(tmp_path):
    layer = np.zeros((8, 12, 4), np.uint8)
    layer[2:4, 3:6] = (255, 40, 80, 255)
    hidden = hidden_by([np.zeros_like(layer), layer])
    mask = read_mask(write_mask(hidden, (16, 24), tmp_path / "mask.png"))
    expected = np.ones((16, 24))
    expected[4:8, 6:12] = 0
    np.testing.assert_array_equal(mask, expected)
    for nothing in (np.zeros((4, 4), bool), np.ones((4, 4), bool)):
        with pytest.raises(ValueError, match="painted"):
            write_mask(nothing, (4, 4), tmp_path / "mask.png")


@pytest.mark.parametrize(
    ("kinds", "simulate", "size"),
    [
        (["holes"], False, (16, 16)),
        (["holes", "small"], False, (64, 64)),
        (["small", "holes"], False, (16, 16)),
        (["holes", "small"], True, (16, 16)),
        (["small", "holes"], True, (4, 4)),
    ],
)
def test_mask_has_the_size_that_its_task_takes(photo, tmp_path, kinds, simulate, size):
    choices = Choices(tuple(map(Damage, kinds)), simulate)
    assert mask_size(choices, photo) == size
    assert needs_mask(choices.damages)
    hidden = np.eye(8, dtype=bool)
    mask = write_mask(hidden, size, tmp_path / "mask.png")
    request = choices.request(str(mask))
    request.degradation((16, 16), photo)


def test_quality_of_the_header(tmp_path, photo):
    assert jpeg_quality(photo) is None
    for quality in (10, 40, 90):
        path = tmp_path / "photo.jpg"
        Image.open(photo).save(path, quality=quality)
        assert jpeg_quality(path) == quality


def finish(run: Restoration) -> tuple[list[State], Finished | Failed]:
    *states, last = run.reports()
    return states, last


def test_result_is_the_commands_and_the_codes(tmp_path, photo, monkeypatch):
    from pigdm_jax.cli.restoring import restore

    monkeypatch.chdir(tmp_path)
    hidden = np.zeros((16, 16), bool)
    hidden[4:9, 5:8] = True
    mask = write_mask(hidden, (16, 16), tmp_path / "mask.png")
    choices = Choices((Damage("holes"),), steps=2, seed=3)
    device = Device()
    arguments = (device, choices, photo, str(mask), LIMITS, threading.Event())
    states, last = finish(Restoration(*arguments))
    assert isinstance(last, Finished), last
    previews = [s.preview for s in states if s.preview is not None]
    assert all(preview.shape == (16, 16, 3) for preview in previews)
    assert states[-1].done == states[-1].total == 2
    folder = tmp_path / "results"
    folder.mkdir()
    result = show_finished(last, photo, folder)

    words = shlex.split(choices.command(photo.name))
    flags = tyro.cli(RestoreFlags, args=words[3:])
    restore(Path(words[2]), flags, cache="none")
    written = tmp_path / "my, photo-restored.png"
    assert result.result.name == written.name
    assert result.result.read_bytes() == written.read_bytes()

    exec(choices.code(photo.name), {})
    assert (tmp_path / "restored.png").read_bytes() == written.read_bytes()

    assert result.pair[0].size == result.pair[1].size == (16, 16)
    assert "evaluated 2 times" in result.summary
    plan = plan_for(choices, photo, tmp_path, device.pace, LIMITS)
    assert (plan.height, plan.width, plan.evaluations) == (16, 16, 2)
    assert "2 evaluations" in plan.sentence()


def test_stop_frees_the_device(photo):
    device, stop = Device(), threading.Event()
    choices = Choices((Damage("noisy", {"estimated": False}),), aim="detail", steps=50)
    done = 0
    for report in Restoration(device, choices, photo, "", LIMITS, stop).reports():
        if isinstance(report, State):
            done = report.done
            if done:
                stop.set()
    assert isinstance(report, Failed)
    assert report.stopped
    assert 0 < done < 50
    assert device.lock.acquire(timeout=5)

    # A second one that waits for the device, and is stopped there.
    waiting = Restoration(device, choices, photo, "", LIMITS, stop)
    assert finish(waiting)[1] == Failed("stopped", stopped=True)


def test_programs_are_compiled_while_nothing_is_restored(tmp_path, photo):
    device, choices = Device(), Choices((Damage("holes"),), steps=2)
    with device.lock:
        warmer = Warmer(device, tmp_path, LIMITS)
        warmer.want(choices, photo)
        time.sleep(3 * POLL)
        assert not warmer.is_ready(choices, photo)
    for _ in range(600):
        warmer.wait_for(choices, photo, lambda: None)
        if warmer.is_ready(choices, photo):
            break
        time.sleep(0.1)
    else:
        pytest.fail("nothing was compiled")
    assert plan_for(choices, photo, tmp_path, device.pace, LIMITS).seconds > 0
    warmer.close()


def test_result_that_is_too_large_is_refused(photo):
    limits = Limits(megapixels=0.001)
    choices = Choices((Damage("small", {"factor": 8}),))
    run = Restoration(Device(), choices, photo, "", limits, threading.Event())
    _, last = finish(run)
    assert isinstance(last, Failed)
    assert "128 x 128 pixels, more than the 0.001 megapixels" in last.sentence


def test_bugs_are_not_shown(caplog):
    try:
        {}["secret"]
    except KeyError as error:
        assert "secret" not in reason(error)
    assert "secret" in caplog.text


def test_text_of_others_is_escaped():
    assert "<b>" not in alert("<b>")
    assert "<b>" not in progress_of(State("<b>"))


def test_pace_is_proportional_to_pixels():
    pace = Pace()
    assert pace.guess(("a", 100), 5) is None
    pace.note(("a", 100), 2.0)
    pace.note(("a", 10_000), 100.0)
    assert pace.guess(("a", 400), 3) == pytest.approx(24)


def test_photos_are_shown_small(tmp_path):
    Image.new("RGB", (3000, 1000), "red").save(tmp_path / "wide.png")
    assert shown(tmp_path / "wide.png").size == (1024, 341)


def test_examples_are_what_they_say(tmp_path):
    for example in EXAMPLES:
        mask = "" if example.mask is None else str(example.mask)
        request = Choices((example.damage,)).request(mask)
        size = read_image(example.photo).shape[:2]
        assert request.degradation(size, example.photo) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "port"),
        ({"share": True}, "needs a password"),
        ({"password": "short"}, "at least 8"),
        ({"prior": "nothing"}, "no prior"),
        ({"megapixels": 0}, "megapixels"),
        ({"megabytes": float("nan")}, "megabytes"),
    ],
)
def test_options_that_make_no_sense(options, message):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    with pytest.raises(ValueError, match=message):
        Options(**options).check()


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)],
)
def test_which_addresses_are_local(host, local):
    assert Options(host).is_local == local
    assert not Options(host, share=True, password="12345678").is_local
