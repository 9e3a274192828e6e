"""Priors by name: downloaded from a server on loopback, verified, converted, kept."""

import errno
import hashlib
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from loopback import Reply, eventually, served
from test_convert import SMALL, torch_state
from torch_files import flat_state, legacy

from pigdm_jax import load_prior, shipped_priors
from pigdm_jax.cli.flags import FolderFlags, RestoreFlags
from pigdm_jax.networks import CheckpointFlags
from pigdm_jax.networks.adm.recognition import known_checkpoints
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.training.start import saved_start
from pigdm_jax.weights import catalogue as catalogue_module
from pigdm_jax.weights import conversion, obtaining
from pigdm_jax.weights.cache import is_here, obtained, places, read_sources
from pigdm_jax.weights.catalogue import CATALOGUE, RemoteFile, catalogue, find_entry
from pigdm_jax.weights.disk import check_space
from pigdm_jax.weights.downloads import verify
from pigdm_jax.weights.metadata import content_digest
from pigdm_jax.weights.names import check_prior, find_prior
from pigdm_jax.weights.obtaining import obtain, remove

TABLE = """
[{name}]
description = "a tiny network"
licence = "CC0"
home = "http://127.0.0.1/about"
trained_size = {side}
flags = {{ num_head_channels = 32, schedule = "linear", image_size = 8 }}
files = [{{ {file} }}]
"""


@pytest.fixture(scope="module")
def checkpoint():
    return legacy(*flat_state(torch_state(SMALL)))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with served() as both:
        yield both


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder of weights."""
    monkeypatch.setenv("PIGDM_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def add(tmp_path, monkeypatch, server, weights):
    """A function that makes a catalogue of one prior, "tiny"."""
    address, _ = server

    def make(*paths, side=8, name="tiny", known=None, size=None, digest=None):
        fields = []
        if paths:
            mirrors = [p if "://" in p else f"{address}/{p}" for p in paths]
            fields.append(f"mirrors = {json.dumps(mirrors)}")
        if known is not None:
            size, digest = len(known), f"sha256:{hashlib.sha256(known).hexdigest()}"
        if size is not None:
            fields.append(f"size = {size}")
        if digest is not None:
            fields.append(f'digest = "{digest}"')
        if not paths:
            fields.append('name = "tiny.pth"')
        text = TABLE.format(name=name, side=side, file=", ".join(fields))
        path = tmp_path / f"catalogue-{len(list(tmp_path.iterdir()))}.toml"
        path.write_text(text)
        monkeypatch.setattr(catalogue_module, "CATALOGUE", path)
        return find_entry(name)

    return make


def files_in(folder):
    """Files below a folder, but not the record of sources."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "sources"
    )


def refused(*arguments, **options):
    """The sentence with which a prior is refused."""
    with pytest.raises(ValueError) as caught:
        obtain(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_a_prior_is_downloaded_on_first_use(
    add, server, checkpoint, weights, caplog, capsys
):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt", known=checkpoint)
    calls = []
    assert check_prior("tiny") == entry and not weights.exists()
    with caplog.at_level(logging.INFO, "pigdm_jax"):
        prior = load_prior("tiny", progress=lambda *call: calls.append(call))
    assert prior.network.config.model_channels == SMALL.model_channels
    assert prior.trained_size == 8
    address = entry.files[0].mirrors[0]
    assert calls[0] == (address, 0, len(checkpoint))
    assert calls[-2] == (address, len(checkpoint), len(checkpoint))
    assert calls[-1] == ("converting tiny", 0, None)
    assert f"downloading {address}" in caplog.text
    assert capsys.readouterr() == ("", "")

    calls.clear()
    # The record of a folder of pictures needs this digest, and loads no prior.
    assert content_digest("tiny") == content_digest(weights / "priors" / "tiny")
    assert find_prior("tiny", lambda *call: calls.append(call)) == places(entry).prior
    assert replies["/tiny.pt"].requests == 1 and not calls
    assert {Path(name).parts[:2] for name in files_in(weights)} == {("priors", "tiny")}
    (source,) = read_sources(entry).values()
    assert source == (len(checkpoint), hashlib.sha256(checkpoint).hexdigest(), address)
    metadata = json.loads((places(entry).prior / "prior.json").read_text())
    assert metadata["source"]["sha256"] == source.sha256
    assert metadata["source"]["description"] == "a tiny network"


MANY = b"x" * 2**20
BAD = {
    "404": (Reply(b"no", 404), "the server answers 404"),
    "500": (Reply(b"no", 500), "the server answers 500"),
    "no answer": (Reply(MANY, cut=-1), "there is no connection"),
    "dropped at once": (
        Reply(MANY, cut=0),
        "the connection broke off after 0 of 1048576 bytes",
    ),
    "dropped": (
        Reply(MANY, cut=2**19),
        "the connection broke off after 524288 of 1048576 bytes",
    ),
    "truncated": (Reply(MANY[1:]), "it has 1048575 bytes instead of 1048576"),
    "lies, too long": (
        Reply(MANY, length=2**21),
        "it has 2097152 bytes instead of 1048576",
    ),
    "lies, too short": (
        Reply(MANY, length=2**19),
        "it has 524288 bytes instead of 1048576",
    ),
    "lies, no number": (
        Reply(MANY, length="many"),
        "the server states a length that is no number",
    ),
    "no length, too long": (
        Reply(MANY + b"x", length=""),
        "it has more than 1048576 bytes",
    ),
    "no length, too short": (
        Reply(MANY[1:], length=""),
        "it has 1048575 bytes instead of 1048576",
    ),
    "another file": (
        Reply(b"y" * 2**20),
        r"its sha256 is [0-9a-f]{64}, and the catalogue's is [0-9a-f]{64}",
    ),
    "a circle": (Reply(status=302, location="/bad"), r"the request fails \(TooMany"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_downloads_are_refused_in_a_sentence(what, add, server, weights):
    address, replies = server
    replies["/bad"], reason = BAD[what]
    entry = add("bad", known=MANY)
    sentence = refused(entry)
    start = rf"tiny cannot be downloaded: {address}/bad: {reason}"
    assert re.match(start, sentence), sentence
    assert sentence.endswith(
        "`pigdm prior get tiny --from FILE` takes a file that you have"
    )
    assert files_in(weights) == [] and not places(entry).sources.exists()


def test_mirrors_are_tried_in_order_and_named(add, server, checkpoint, weights):
    address, replies = server
    replies["/dropped"] = Reply(checkpoint, cut=1000)
    entry = add("http://127.0.0.1:1/closed", "dropped", "missing")
    sentence = refused(entry)
    places_named = [
        "http://127.0.0.1:1/closed: there is no connection",
        f"{address}/dropped: the connection broke off",
        f"{address}/missing: the server answers 404",
    ]
    found = [sentence.index(part) for part in places_named]
    assert found == sorted(found)
    replies["/missing"] = Reply(checkpoint)
    assert is_here(entry) is False
    obtain(entry, keep=True)
    assert is_here(entry)
    assert "downloads/tiny/missing" in files_in(weights)
    # A file that was kept is used again, if it is still the same.
    remove_prior_only(entry)
    obtain(entry)
    assert replies["/missing"].requests == 1 and is_here(entry)


def remove_prior_only(entry):
    shutil.rmtree(places(entry).prior)


def test_the_digest_of_the_first_download_is_held_to(add, server, checkpoint, weights):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt")
    obtain(entry)
    freed = remove(entry)
    assert freed > len(checkpoint) / 2 and files_in(weights) == []
    assert obtained() == []
    other = bytearray(checkpoint)
    other[-1] ^= 1
    replies["/tiny.pt"] = Reply(bytes(other))
    assert "and that of the first download is" in refused(entry)
    places(entry).sources.write_text("{")
    assert refused(entry) == f"{places(entry).sources} is damaged; remove it"


@pytest.mark.parametrize(
    "what, sentence",
    [
        ("page", "it is a web page: the download went wrong"),
        ("truncated", "is not converted: it"),
        ("other", "is a prior of 8 pixels, not tiny"),
        ("unknown", "does not have the tensors of tiny"),
    ],
)
def test_a_wrong_file_without_a_digest_is_not_converted(
    what, sentence, add, server, checkpoint, weights, monkeypatch
):
    """Its address is named, and it leaves no record, so the next one may be right."""
    address, replies = server
    body = {"page": b"<html>", "truncated": checkpoint[:-100]}.get(what, checkpoint)
    replies["/tiny.pt"] = Reply(body)
    entry = add("tiny.pt", side=16 if what == "other" else 8)
    if what == "unknown":
        object.__setattr__(entry, "checkpoint", "64x64_diffusion")
    found = refused(entry)
    assert sentence in found and f"{address}/tiny.pt" in found
    assert files_in(weights) == [] and not places(entry).sources.exists()


def test_a_disk_without_space_is_refused(add, server, checkpoint, weights, monkeypatch):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt", size=10**16)
    sentence = refused(entry)
    assert sentence.startswith("tiny needs 20000000.00 GB on the disk, and ")
    assert sentence.endswith("left; PIGDM_WEIGHTS names another folder")
    assert replies["/tiny.pt"].requests == 0
    # The size that the server states is checked, too.
    entry = add("tiny.pt")
    replies["/tiny.pt"] = Reply(checkpoint, length=10**16)
    assert "tiny.pt needs 10000000.00 GB on the disk" in refused(entry)
    check_space(weights, 1, "it")


@pytest.fixture
def small_files():
    """No file may have more than 4096 bytes, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failing_disk_is_named(add, server, checkpoint, weights, small_files):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt")
    part = places(entry).downloads / "tiny.pt.part"
    too_large = os.strerror(errno.EFBIG)
    assert refused(entry) == f"{part} cannot be written: {too_large}"
    assert files_in(weights) == []


def test_a_folder_that_cannot_be_written(
    add, server, checkpoint, weights, tmp_path, monkeypatch
):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt")
    obtain(entry)

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "there")

    monkeypatch.setattr(obtaining, "alone", read_only)
    # What is there can be used, and nothing is written for it.
    assert load_prior("tiny").trained_size == 8
    remove_prior_only(entry)
    expected = "cannot write to there: Read-only file system; PIGDM_WEIGHTS names"
    assert refused(entry).startswith(expected)
    monkeypatch.setenv("PIGDM_WEIGHTS", str(tmp_path / "file"))
    (tmp_path / "file").write_bytes(b"")
    assert refused(entry).startswith(f"cannot write to {tmp_path / 'file'}")


OBTAIN = """
import os, signal, sys
from pathlib import Path
from pigdm_jax.weights import catalogue, obtaining
catalogue.CATALOGUE = Path(sys.argv[1])
"""


def process(code, *arguments):
    """Another process, with the catalogue of this one."""
    return subprocess.Popen(
        [sys.executable, "-c", OBTAIN + code, str(catalogue_module.CATALOGUE)]
        + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_two_processes_do_the_work_once(add, server, checkpoint, weights):
    _, replies = server
    hold = threading.Event()
    replies["/tiny.pt"] = Reply(checkpoint, hold=hold)
    entry = add("tiny.pt")
    first = threading.Thread(target=obtain, args=(entry,))
    first.start()
    eventually(lambda: replies["/tiny.pt"].requests)
    second = process(
        "obtaining.obtain(catalogue.find_entry('tiny'),"
        " progress=lambda *call: print(*call, flush=True))"
    )
    assert second.stdout.readline() == "waiting for another process 0 None\n"
    hold.set()
    first.join()
    assert second.communicate()[0] == "" and second.returncode == 0
    assert replies["/tiny.pt"].requests == 1 and is_here(entry)


def test_a_killed_download_is_begun_again(add, server, checkpoint, weights):
    _, replies = server
    hold = threading.Event()
    replies["/tiny.pt"] = Reply(checkpoint, hold=hold)
    entry = add("tiny.pt", known=checkpoint)
    killed = process("obtaining.obtain(catalogue.find_entry('tiny'))")
    part = places(entry).downloads / "tiny.pt.part"
    eventually(lambda: part.exists() and part.stat().st_size > 1e6)
    killed.kill()
    killed.communicate()
    hold.set()
    assert part.exists() and not is_here(entry)
    replies["/tiny.pt"] = Reply(checkpoint)
    obtain(entry)
    assert {Path(name).parts[:2] for name in files_in(weights)} == {("priors", "tiny")}


def test_a_killed_conversion_is_begun_again(add, server, checkpoint, weights):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt", known=checkpoint)
    # When the arrays are written, and their digests are not.
    killed = process(
        "import pigdm_jax.weights.store as store\n"
        "store.file_digests = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "obtaining.obtain(catalogue.find_entry('tiny'))"
    )
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not is_here(entry)
    left = list(places(entry).prior.parent.iterdir())
    assert len(left) == 1 and left[0].name.endswith(".tmp")
    # The download was verified, so it need not be repeated.
    obtain(entry)
    assert replies["/tiny.pt"].requests == 1
    assert {Path(name).parts[:2] for name in files_in(weights)} == {("priors", "tiny")}
    assert load_prior("tiny").trained_size == 8


def test_a_file_may_be_given(add, checkpoint, weights, tmp_path):
    entry = add()
    for call in (obtain, lambda entry: check_prior("tiny")):
        with pytest.raises(ValueError, match=r"by hand, see http://127\.0"):
            call(entry)
    file = tmp_path / "mine.pth"
    assert refused(entry, file) == f"{file} cannot be read: No such file or directory"
    file.write_bytes(checkpoint)
    assert obtain(entry, file) == find_prior("tiny")
    assert file.exists() and check_prior("tiny") == entry
    assert "is in" in refused(entry, file) and "pigdm prior remove" in refused(
        entry, file
    )
    remove(entry)
    file.write_bytes(checkpoint[:-1] + b"x")
    assert "is not the file of the catalogue: its sha256 is" in refused(entry, file)


def test_an_interrupted_process_leaves_nothing(add, server, checkpoint, weights):
    _, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt")

    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(entry, progress=interrupt)
    assert files_in(weights) == []


def test_a_repository_of_diffusers_is_a_prior(
    server, weights, checkpoint, monkeypatch, tmp_path
):
    """Its files come from HF_ENDPOINT, and are converted as a folder."""
    address, replies = server
    monkeypatch.setenv("HF_ENDPOINT", address)
    base = "/me/cats/resolve/main"
    replies[f"{base}/config.json"] = Reply(b"{}")
    replies[f"{base}/diffusion_pytorch_model.bin"] = Reply(checkpoint)
    convert = conversion.convert

    def convert_folder(folder, out, flags, *, description):
        names = {path.name for path in folder.iterdir()}
        assert names == {"config.json", "diffusion_pytorch_model.bin"}
        flags = CheckpointFlags(num_head_channels=32)
        return convert(folder / "diffusion_pytorch_model.bin", out, flags)

    monkeypatch.setattr(conversion, "convert", convert_folder)
    prior = load_prior("hf:me/cats")
    assert prior.network.config.model_channels == 32 and obtained() == ["hf:me/cats"]
    entry = find_entry("hf:me/cats")
    assert places(entry).prior == weights / "priors" / "hf--me--cats"
    sources = read_sources(entry)
    assert sources["config.json"].origin == f"{address}{base}/config.json"
    assert set(sources) == {"config.json", "diffusion_pytorch_model.bin"}
    # What the repository says of its schedule is optional, but may not be missed.
    remove(entry)
    replies["/me/cats/resolve/main/scheduler_config.json"] = Reply(b"no", 500)
    assert "scheduler_config.json: the server answers 500" in refused(entry)
    given = tmp_path / "given"
    given.mkdir()
    (given / "config.json").write_bytes(b"{}")
    (given / "diffusion_pytorch_model.bin").write_bytes(checkpoint)
    assert obtain(entry, given) == places(entry).prior

    folder = find_entry("hf:me/cats/unet").files[1].mirrors
    assert folder[0].endswith(
        "/me/cats/resolve/main/unet/" + "diffusion_pytorch_model.safetensors"
    )
    remove(entry)
    (tmp_path / "config.json").write_bytes(b"{}")
    assert "has no diffusion_pytorch_model.safetensors" in refused(entry, tmp_path)
    assert "give the folder of them" in refused(entry, tmp_path / "config.json")


@pytest.mark.parametrize(
    "name", ["hf:", "hf:cats", "hf:me/../you", "hf:a--b/c", "hf:/x"]
)
def test_names_of_no_repository(name):
    with pytest.raises(ValueError, match="is no repository: write hf:org/name"):
        check_prior(name)


def test_digests_are_whole_or_their_beginning(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"weights")
    sha256, md5 = (
        getattr(hashlib, k)(b"weights").hexdigest() for k in ("sha256", "md5")
    )
    for digest in (f"sha256:{sha256}", f"sha256:{sha256[:8]}", f"md5:{md5}"):
        assert verify(path, RemoteFile(digest=digest), None) == (7, sha256)
    for digest in ("sha256:0123abcd", f"md5:{sha256[:32]}"):
        with pytest.raises(ValueError, match="and the catalogue's is"):
            verify(path, RemoteFile(digest=digest), None)


def test_every_entry_of_the_catalogue_is_whole():
    known = {name for found in known_checkpoints().values() for name in found["names"]}
    entries = catalogue()
    assert len(entries) > 25 and not entries.keys() & set(shipped_priors())
    assert CATALOGUE.read_text().count("\n[") - CATALOGUE.read_text().count(
        "\n[["
    ) == len(entries)
    lengths = {"sha256": 64, "md5": 32}
    for name, entry in entries.items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and "--" not in name
        assert entry.description and entry.licence
        assert entry.trained_size or entry.kind == "metric"
        assert entry.home.startswith("https://") and entry.files
        CheckpointFlags(**entry.flags)
        if name.startswith("jit-"):
            assert entry.checkpoint == f"JiT-{name[4].upper()}/{name[6:]}"
        else:
            assert entry.checkpoint is None or entry.checkpoint in known
        for file in entry.files:
            assert file.names and all(file.names)
            assert all(mirror.startswith("https://") for mirror in file.mirrors)
            if file.digest is not None:
                kind, _, digest = file.digest.partition(":")
                assert re.fullmatch("[0-9a-f]+", digest)
                # The names of public files may hold its beginning alone.
                assert len(digest) in (lengths[kind], 8)
    assert {n for n, e in entries.items() if not e.downloadable} == {
        f"jit-{size}-{patch}" for size in "blh" for patch in (16, 32)
    }


def test_the_command_lists_gets_and_removes(run, add, server, checkpoint, weights):
    address, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    add("tiny.pt", known=checkpoint)
    status, text = run("prior", "list")
    assert status == 0 and "photos-64" in text and "tiny" in text, text
    assert f"0 bytes used in {weights}" in text
    status, text = run("prior", "get", "tiny", "--keep")
    size = f"{len(checkpoint) / 1e6:.1f} MB"
    lines = text.splitlines()
    assert lines[0] == (
        f"tiny: a tiny network, 8 x 8 pixels, {size}, licence: CC0, see "
        "http://127.0.0.1/about"
    )
    assert lines[1] == f"downloading {address}/tiny.pt"
    assert lines[2] == "converting tiny"
    assert lines[3].startswith(f"tiny is in {weights / 'priors' / 'tiny'}"), text
    assert run("prior", "get", "tiny") == (0, lines[3] + "\n")
    status, text = run("prior", "list")
    assert f"MB used in {weights}" in text
    status, text = run("prior", "remove", "tiny")
    assert status == 0 and text.startswith("removed tiny: "), text
    assert run("prior", "remove", "tiny") == (
        1,
        f"pigdm: tiny is not in {weights / 'priors'}",
    )
    assert (
        run("prior", "get", "photos-64")[1] == "pigdm: photos-64 comes with the package"
    )
    assert "no prior 'small'" in run("prior", "get", "small")[1]
    assert "--keep takes no value" in run("prior", "get", "tiny", "--keep", "true")[1]
    given = run("prior", "get", "tiny", "--keep", "--from", CATALOGUE)[1]
    assert given == "pigdm: --keep is for downloads; a file of yours always stays"


def test_a_command_downloads_the_prior_that_it_needs(
    add, server, checkpoint, weights, tmp_path, capsys
):
    """And not before it has looked at everything else."""
    address, replies = server
    replies["/tiny.pt"] = Reply(checkpoint)
    entry = add("tiny.pt", known=checkpoint)
    request = RestoreFlags("denoise:0.1", prior="tiny").request()
    assert not is_here(entry)
    job = FolderFlags().job(tmp_path, tmp_path / "out", request)
    assert f"downloading {address}/tiny.pt" in capsys.readouterr().out
    assert job.settings()["prior_digest"] == content_digest("tiny")
    assert job.settings()["prior"] == "tiny"
    TrainConfig(init="tiny").check()
    assert saved_start(TrainConfig(init="tiny", crop=(8,))).network.image_size == 8
    assert replies["/tiny.pt"].requests == 1


LIMITED = """
import resource
import jax, pigdm_jax.weights.conversion
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    obtaining.obtain(catalogue.find_entry("tiny"), Path(sys.argv[2]))
except ValueError as error:
    print(error)
"""


def test_a_disk_that_fails_in_the_conversion_is_named(
    add, checkpoint, weights, tmp_path
):
    """In a process of its own, since TensorStore's threads report what they met."""
    entry = add()
    file = tmp_path / "tiny.pth"
    file.write_bytes(checkpoint)
    limited = process(LIMITED, file)
    text, _ = limited.communicate()
    prior = places(entry).prior
    assert text == f"{prior} cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert files_in(weights) == []


def test_a_prior_larger_than_the_disk_is_refused(monkeypatch, weights, checkpoint, add):
    """Before Orbax writes anything."""
    file = weights.parent / "tiny.pth"
    file.write_bytes(checkpoint)
    entry = add()
    usage = shutil.disk_usage(weights.parent)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    needs = r"tiny needs [\d.]+ MB on the disk, and .* has 1.0 MB left"
    assert re.fullmatch(f"{weights}/priors/{needs}", refused(entry, file))
    assert files_in(weights) == []
