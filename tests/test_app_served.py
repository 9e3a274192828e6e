"""The page as it is served: what a browser may send and get."""

import importlib.util

import pytest
import requests
from PIL import Image

from pigdm_jax.app.examples import EXAMPLES

if importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed", allow_module_level=True)

# Gradio leaves event loops to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def page():
    """A page with a password and small limits."""
    import pigdm_jax.app

    blocks = pigdm_jax.app.page(
        show=False, warm=False, password=PASSWORD, megabytes=0.1, megapixels=0.1
    )
    yield blocks
    blocks.close(verbose=False)


@pytest.fixture(scope="module")
def session(page):
    """A visitor who has given the password."""
    with requests.Session() as session:
        answer = session.post(
            f"{page.local_url}login", {"username": "pigdm", "password": PASSWORD}
        )
        assert answer.ok, answer.text
        yield session


def test_password_is_needed(page):
    assert page.local_url.startswith("http://127.0.0.1:")
    for path in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
        assert requests.get(f"{page.local_url}{path}").status_code == 401
    wrong = {"username": "pigdm", "password": "wrong horse"}
    assert requests.post(f"{page.local_url}login", wrong).status_code == 400


def test_browser_may_ask_no_other_server(page, session):
    answer = session.get(page.local_url)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    config = session.get(f"{page.local_url}config").json()
    assert config["analytics_enabled"] is False
    assert not config["enable_queue"] or config["footer_links"] == []


def test_no_file_of_the_server_is_served(page, session, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    for path in (secret, "/etc/passwd", __file__, "../../etc/passwd"):
        answer = session.get(f"{page.local_url}gradio_api/file={path}")
        assert answer.status_code in (403, 404), path


def test_large_uploads_are_refused(page, session):
    address = f"{page.local_url}gradio_api/upload"
    assert session.post(address, files={"files": ("a.png", b"x")}).ok
    answer = session.post(address, files={"files": ("a.png", b"x" * 200_000)})
    assert answer.status_code == 413


def call(page, session, name: str, data: list) -> str:
    """What the page's function `name` answers, as its stream of events."""
    config = session.get(f"{page.local_url}config").json()
    functions = [f for f in config["dependencies"] if f["api_name"] == name]
    body = {
        "data": data,
        "fn_index": functions[0]["id"],
        "session_hash": "abcdefgh",
        "trigger_id": None,
        "event_data": None,
    }
    address = f"{page.local_url}gradio_api/queue"
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


def desk_of(page):
    """The object whose methods the page calls."""
    return next(f.fn.__self__ for f in page.fns.values() if f.name == "choose")


def asked_by(name: str):
    """A request of a visitor."""
    import gradio

    return gradio.Request(session_hash=name)


def test_only_parameters_that_matter_are_shown(page):
    desk = desk_of(page)
    parts, request = desk.parts, asked_by("x")
    values = [c.value for c in parts.settings]
    first = parts.rows[0]
    kind = 1  # the place of the first damage, behind `simulate`

    def shown(kind_name: str, simulate: bool) -> set:
        given = list(values)
        given[0], given[kind] = simulate, kind_name
        count = 1 + sum(1 + len(row.fields) for row in parts.rows)
        updates = desk.choose(request, *given[:count])
        visible = {
            key
            for key, field in first.fields.items()
            if updates.get(field, {}).get("visible", True)
            and updates[first.groups[key[0]]]["visible"]
        }
        painted = updates[parts.mask_group]["visible"]
        return {name for _, name in visible} | ({"mask"} if painted else set())

    assert shown("small", False) == {"factor", "kernel"}
    assert shown("holes", False) == {"mask"}
    assert shown("holes", True) == {"where", "mask"}
    assert shown("noisy", False) == {"estimated"}
    assert shown("noisy", True) == {"level"}
    assert shown("jpeg", True) == {"quality"}
    assert shown("grey", False) == set()


def test_photo_is_planned_and_grey_gets_its_sampler(page):
    desk = desk_of(page)
    parts, request = desk.parts, asked_by("y")
    updates = desk.take_photo(str(EXAMPLES[2].photo), request)
    assert "128 x 128 pixels, a JPEG file of about quality 10" in updates[parts.about]
    values = [c.value for c in parts.settings]
    values[1] = "jpeg"
    assert "10 evaluations" in desk.plan(request, *values)
    values[values.index("photos-64")] = "/etc"
    assert "not on the server" in desk.plan(request, *values)
    grey = desk.suggest("grey", "automatic", 0)
    assert grey == {parts.sampler: "ddnm", parts.steps: 20}
    assert (
        "Choose a prior of the list" in next(desk.download("/etc"))[parts.download_note]
    )
    desk.visitors.forget("y")


def test_everything_has_a_label(page):
    unnamed = [
        block
        for block in page.blocks.values()
        if block.get_block_name() in ("dropdown", "slider", "number", "checkbox")
        and not block.label
    ]
    assert not unnamed
