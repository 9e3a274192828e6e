"""The page in Chromium, from the upload to the download."""

import importlib.util
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image
from served_page import served_page

from pigdm_jax.app.examples import EXAMPLES
from pigdm_jax.cli.flags import RestoreFlags
from pigdm_jax.pictures.parameters import read_mask

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
for package in ("gradio", "playwright"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("there is no chromium", allow_module_level=True)

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE = 180_000  # milliseconds; machines may be busy
SIDE = 48


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page."""
    with served_page(tmp_path_factory.mktemp("temporary")) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(FLAGS)
        )
        yield chromium
        chromium.close()


@pytest.fixture
def tab(served, browser):
    """The opened page; no other server may be asked for anything."""
    tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    tab.set_default_timeout(PATIENCE)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(served.address)
    tab.wait_for_selector("#restore")
    yield tab
    tab.close()
    own = (served.address, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


def choose(tab, selector: str, option: str) -> None:
    """Choose from a list."""
    tab.locator(f"{selector} input").click()
    tab.get_by_role("option", name=option).first.click()


def set_steps(tab, steps: int) -> None:
    """Set the number of evaluations."""
    tab.get_by_role("button", name="More").click()
    tab.get_by_label("Evaluations of the network").fill(str(steps))
    tab.get_by_label("Evaluations of the network").press("Tab")


def upload(tab, folder: Path) -> Path:
    """Upload a small photo that is to be painted on."""
    photo = folder / "cat.png"
    pixels = np.asarray(Image.open(EXAMPLES[3].photo))[:SIDE, :SIDE]
    Image.fromarray(pixels).save(photo)
    tab.locator("#photo-file input[type=file]").set_input_files(photo)
    tab.wait_for_selector(f"#about >> text=cat.png, {SIDE} x {SIDE} pixels")
    choose(tab, "#damage-0", "It is scratched")
    return photo


def paint(tab) -> None:
    """Paint a line on the photo."""
    canvas = tab.locator("#editor canvas").first
    canvas.wait_for()
    tab.wait_for_timeout(2000)  # until the photo is drawn on it
    box = canvas.bounding_box()
    drag(tab, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 50)


def drag(tab, x: float, y: float, way: float) -> None:
    """Drag the mouse horizontally."""
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + way, y + 5, steps=8)
    tab.mouse.up()


def test_photo_is_painted_restored_and_downloaded(tab, tmp_path, monkeypatch):
    photo = upload(tab, tmp_path)
    paint(tab)
    set_steps(tab, 2)
    tab.click("#restore")
    tab.wait_for_selector(".pigdm-progress img")
    tab.wait_for_selector("#slider img")
    assert "evaluated 2 times" in tab.inner_text("#summary")
    assert tab.locator("#slider img").first.get_attribute("alt") == "The photo before"

    line = tab.locator("#slider [role=slider]")
    line.scroll_into_view_if_needed()
    place = line.bounding_box()
    drag(tab, place["x"] + place["width"] / 2, place["y"] + 200, -100)
    dragged = line.bounding_box()["x"]
    assert dragged < place["x"] - 50
    line.press("ArrowRight")
    assert line.bounding_box()["x"] > dragged

    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "cat-restored.png"
    downloaded = Path(download.value.path()).read_bytes()
    tab.get_by_role("button", name="Repeat it").click()
    words = shlex.split(tab.inner_text("#command .cm-content"))
    tab.get_by_role("button", name="All files").click()
    with tab.expect_download() as download:
        tab.locator("#files a[download='mask.png']").click()
    download.value.save_as(tmp_path / "mask.png")
    hidden = 1 - read_mask(tmp_path / "mask.png").mean()
    assert 0.002 < hidden < 0.3

    # The command that the page shows writes the same file.
    from pigdm_jax.cli.restoring import restore

    assert words[:3] == ["pigdm", "restore", photo.name]
    monkeypatch.chdir(tmp_path)
    restore(Path(words[2]), tyro.cli(RestoreFlags, args=words[3:]), cache="none")
    assert (tmp_path / "cat-restored.png").read_bytes() == downloaded


def test_others_wait_and_stop_frees_the_device(served, browser, tab, tmp_path):
    upload(tab, tmp_path)
    paint(tab)
    set_steps(tab, 1000)
    tab.click("#restore")
    tab.wait_for_selector("#status >> text=/evaluation [1-9][0-9]* of 1000/")

    other = browser.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(served.address)
    other.get_by_role("button", name="Noisy").click()
    other.wait_for_selector("#restore:enabled")
    other.click("#restore")
    other.wait_for_selector("#status >> text=/queue: 1/")
    other.click("#stop")
    other.wait_for_selector("#status >> text=Stopped.")
    visitors = set(served.folder.glob("pigdm-app-*/tmp*"))
    other.close()

    tab.click("#stop")
    tab.wait_for_selector("#status >> text=Stopped.")
    tab.get_by_label("Evaluations of the network").fill("2")
    tab.get_by_label("Evaluations of the network").press("Tab")
    tab.click("#restore")
    tab.wait_for_selector("#slider img")
    # The one who has closed the page is forgotten.
    for _ in range(100):
        if not all(folder.exists() for folder in visitors):
            break
        tab.wait_for_timeout(200)
    else:
        pytest.fail("the files of a closed page stay")


def test_page_fits_a_phone(served, browser):
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.set_default_timeout(PATIENCE)
    phone.goto(served.address)
    phone.wait_for_selector("#restore")
    width = phone.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    unnamed = phone.locator("button:visible, input:visible").evaluate_all(
        "all => all.filter(e => !(e.innerText || e.ariaLabel || e.title ||"
        " (e.labels && e.labels.length) || e.type === 'file')).map(e => e.outerHTML)"
    )
    assert unnamed == []
    phone.close()
