"""The page as it is served: what a browser may send and get."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from PIL import Image
from served_page import served_page

from pigdm_jax.app.examples import EXAMPLES

if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed", allow_module_level=True)

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with a password and small limits."""
    limits = ("--megabytes", "0.1", "--megapixels", "0.1")
    folder = tmp_path_factory.mktemp("temporary")
    with served_page(folder, *limits, PIGDM_APP_PASSWORD=PASSWORD) as served:
        yield served


@pytest.fixture(scope="module")
def session(page):
    """A visitor who has given the password."""
    with requests.Session() as session:
        answer = session.post(
            f"{page.address}login", {"username": "pigdm", "password": PASSWORD}
        )
        assert answer.ok, answer.text
        yield session


def test_password_is_needed(page):
    assert page.address.startswith("http://127.0.0.1:")
    for path in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
        assert requests.get(f"{page.address}{path}").status_code == 401
    wrong = {"username": "pigdm", "password": "wrong horse"}
    assert requests.post(f"{page.address}login", wrong).status_code == 400


def test_browser_may_ask_no_other_server(page, session):
    answer = session.get(page.address)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    config = session.get(f"{page.address}config").json()
    assert config["analytics_enabled"] is False
    assert not config["enable_queue"] or config["footer_links"] == []


def test_no_file_of_the_server_is_served(page, session, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    for path in (secret, "/etc/passwd", __file__, "../../etc/passwd"):
        answer = session.get(f"{page.address}gradio_api/file={path}")
        assert answer.status_code in (403, 404), path


def test_large_uploads_are_refused(page, session):
    address = f"{page.address}gradio_api/upload"
    assert session.post(address, files={"files": ("a.png", b"x")}).ok
    answer = session.post(address, files={"files": ("a.png", b"x" * 200_000)})
    assert answer.status_code == 413


def call(page, session, name: str, data: list) -> str:
    """What the page's function `name` answers, as its stream of events."""
    config = session.get(f"{page.address}config").json()
    functions = [f for f in config["dependencies"] if f["api_name"] == name]
    body = {
        "data": data,
        "fn_index": functions[0]["id"],
        "session_hash": "abcdefgh",
        "trigger_id": None,
        "event_data": None,
    }
    address = f"{page.address}gradio_api/queue"
    assert session.post(f"{address}/join", json=body).ok
    stream = session.get(
        f"{address}/data", params={"session_hash": "abcdefgh"}, stream=True
    )
    lines = []
    for line in stream.iter_lines(decode_unicode=True):
        lines.append(line)
        if "process_completed" in line:
            break
    return "\n".join(lines)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(EXAMPLES[0].photo), "http://127.0.0.1:1/a.png"]
)
def test_no_path_is_taken_from_the_browser(page, session, path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = call(page, session, "take_photo", [file])
    assert '"success":false' in answer.replace(" ", "")
    assert "photo.png" not in answer


def test_functions_behind_the_page():
    """In a process of their own, for the reason that `served_page` gives."""
    script = Path(__file__).with_name("page_functions.py")
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["shown", "planned", "labelled"]
